"""Assembles the gateway as an ASGI application: routes, error handling and lifetime.

Owns nothing else. Imports no torch: the workers make the pictures.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version

from fastapi import FastAPI
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.access.foreign_pages import Cors
from api.access.keys import Keyring
from api.access.rate import deployment_rate
from api.faces.choice import face_paths, face_routers, face_tags, mcp_door
from api.faces.mcp.door import PATH
from api.metrics.metrics import Metrics
from api.routes import (
    enhance,
    events,
    fleet,
    images,
    jobs,
    loras,
    pages,
    pictures,
    previews,
    reports,
    upscalers,
)
from api.server.heads import head_router
from api.server.middleware import Finish
from api.server.page_files import STATIC, PageFiles
from api.server.public import Public
from api.services import running_services
from api.wire.errors import install_error_handlers
from api.wire.openapi import DESCRIPTION, TAGS, install_openapi
from shared.settings import Settings

ROUTERS = (
    jobs,
    pictures,
    events,
    reports,
    images,
    previews,
    loras,
    upscalers,
    fleet,
    enhance,
    pages,
)
EXPOSED_HEADERS = [
    "ETag",
    "Location",
    "Retry-After",
    "Content-Disposition",
    "Idempotency-Replayed",
    "Preference-Applied",
    "X-Request-ID",
    "Mcp-Session-Id",
]


def create_app(settings: Settings) -> FastAPI:
    """The application for these settings. Raises BadSettings; works without a running store."""
    keys, rate = Keyring(settings.api_keys), deployment_rate(settings)

    door = mcp_door(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_services(settings, keys, rate) as services:
            app.state.services = services
            async with door.running() if door else nullcontext():
                yield

    app = FastAPI(
        title="retouch",
        version=version("retouch"),
        description=DESCRIPTION,
        openapi_tags=[*TAGS, *face_tags(settings)],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        root_path_in_servers=False,
        # We have our own (api/server/middleware.py, api/metrics): FastAPI's traces contain queries,
        # which may hold tickets.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    app.state.metrics = Metrics()
    faces = face_routers(settings)
    heads = head_router([*(module.router for module in ROUTERS if module is not events), *faces])
    routers = [*(module.router for module in ROUTERS), *faces, heads]
    app.state.routes = [route for router in routers for route in router.routes]
    for router in routers:
        app.include_router(router)
    if door is not None:
        app.router.routes.append(Route(PATH, door, include_in_schema=False))
    app.mount("/static", PageFiles(directory=STATIC), name="static")
    install_error_handlers(app)
    install_openapi(app, settings.public_url, face_paths(settings))
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The middleware added last sees a request first."""
    app.add_middleware(
        Cors,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "DELETE"],
        # Clients send many headers of their own; none of them decides anything that a key does not.
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    app.add_middleware(Public, settings=settings)
    app.add_middleware(Finish, metrics=app.state.metrics)
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
