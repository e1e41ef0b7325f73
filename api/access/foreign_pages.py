"""Tells the operator which pages of other origins were refused: browsers do not show them why.

Owns the log line, once for each origin. `retouch up` shows it (retouch/stack/refused_pages.py).
"""

import structlog
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

MOST_ORIGINS = 100
_log = structlog.get_logger(__name__)
_told: set[str] = set()


def tell_refused_page(origin: str) -> None:
    """Logs an origin whose page was refused, the first time."""
    if origin not in _told and len(_told) < MOST_ORIGINS:
        _told.add(origin)
        _log.warning("page_refused", origin=origin[:200])


class Cors(CORSMiddleware):
    """Starlette's middleware, which also tells of refused preflight requests."""

    def preflight_response(self, request_headers: Headers) -> Response:
        origin = request_headers["origin"]
        if not self.is_allowed_origin(origin):
            tell_refused_page(origin)
        return super().preflight_response(request_headers)
