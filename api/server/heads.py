"""HEAD for every GET (RFC 9110, 9.3.2): the same answer; the server sends no body.

Owns the HEAD routes. Event streams have none: their body does not end before the job does.
"""

from collections.abc import Iterable
from copy import copy

from fastapi import APIRouter
from fastapi.routing import APIRoute


def head_router(routers: Iterable[APIRouter]) -> APIRouter:
    """A router that answers HEAD on every GET route of these; the OpenAPI document omits it."""
    heads = APIRouter()
    heads.routes.extend(
        _twin(route)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    )
    return heads


def _twin(route: APIRoute) -> APIRoute:
    twin = copy(route)
    twin.methods = {"HEAD"}
    twin.include_in_schema = False
    return twin
