"""The server of the gateway's application: its connections, and how open streams end when the
process does.
"""

import gc
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.server.connection import BoundedHttp
from shared.settings import Settings

GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """A server that ends open event streams before it waits for their connections."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        # Unlike the parent class, it does not raise the signal again after closing everything: an
        # end on request is a success.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was imported lives as long as the process. Looking through it, the collector would
        # stop every request for a quarter of a second.
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.services.stopping.set()
        await super().shutdown(sockets)


def make_server(app: FastAPI, settings: Settings) -> Server:
    """The server of this application, not yet running."""
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
        # Read by the application itself, by RETOUCH_TRUSTED_PROXIES.
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config, app)
