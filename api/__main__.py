"""`python -m api`: run the gateway until SIGTERM or Ctrl-C.

Owns the listening socket's rules: which address may be bound without keys, and how open streams
end when the process does.
"""

import resource
import signal
import socket
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.access.guard import is_loopback
from api.app import create_app
from api.server.connection import BoundedHttp
from shared.log import configure_logging
from shared.settings import BadSettings, Settings, load_settings

GRACE_SECONDS = 5
OPEN_FILES = 16_384

logger = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """A server that tells open event streams to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        # Unlike the parent's, it does not raise the signal again once everything is closed:
        # ending when told to is a success.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.services.stopping.set()
        await super().shutdown(sockets)


def main() -> None:
    """Serve. Ends the process with a sentence when the settings do not allow it."""
    settings = load_settings()
    configure_logging(settings)
    refuse_open_door(settings)
    allow_open_files()
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHttp,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    Server(config, app).run()


def refuse_open_door(settings: Settings) -> None:
    """Raises BadSettings for an address that others reach when anyone could use it."""
    if settings.api_keys.strip() or settings.allow_anonymous or is_loopback(settings.host):
        return
    raise BadSettings(
        f"RETOUCH_HOST: {settings.host} can be reached from other machines, and no keys are set. "
        "Set RETOUCH_API_KEYS, or RETOUCH_ALLOW_ANONYMOUS=1 to serve anyone who can connect."
    )


def allow_open_files() -> None:
    """As many as the system lets us have: each connection is one, and shells give 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
