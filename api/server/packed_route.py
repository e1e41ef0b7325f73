"""Answers in JSON that travel in gzip where the caller takes it.

Only for lists that hold nothing of a caller: the length of a packed secret can give it away.
"""

import gzip
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

WORTHWHILE_BYTES = 1024
LEVEL = 6

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PackedRoute(APIRoute):
    """A route whose JSON is packed from 1,024 bytes on."""

    def get_route_handler(self) -> Handler:
        """The handler of a plain route, with its answer packed."""
        handle = super().get_route_handler()

        async def handle_packed(request: Request) -> Response:
            return _packed(await handle(request), request)

        return handle_packed


def _packed(answer: Response, request: Request) -> Response:
    if answer.media_type != "application/json" or len(answer.body) < WORTHWHILE_BYTES:
        return answer
    answer.headers["Vary"] = "Accept-Encoding, Accept-Language"
    if "gzip" in request.headers.get("accept-encoding", ""):
        answer.body = gzip.compress(bytes(answer.body), LEVEL, mtime=0)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Content-Length"] = str(len(answer.body))
    return answer
