"""`python -m api`: run the gateway until SIGTERM or Ctrl-C.

Owns the rules of the listening socket: which addresses may be bound without keys, and how open
streams end when the process does.
"""

import gc
import resource
import signal
import socket
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.access.keys import is_loopback
from api.app import create_app
from api.server.connection import BoundedHttp
from shared.blobs import open_blobs
from shared.errors import RetouchError, StoreRefuses
from shared.ledger.redis_client import connect
from shared.ledger.store_check import examine_store
from shared.log import configure_logging
from shared.object_blobs import examine_objects
from shared.process_help import take_no_arguments
from shared.settings import BadSettings, Settings, load_settings
from shared.tracing import configure_tracing

GRACE_SECONDS = 5
OPEN_FILES = 16_384

logger = structlog.get_logger(__name__)


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


def main() -> None:
    """Runs the server. Exits with a message when the settings do not allow it."""
    take_no_arguments("retouch api", "Run the gateway until SIGTERM or Ctrl-C.")
    settings = load_settings()
    configure_logging(settings)
    configure_tracing(settings, "retouch-gateway")
    refuse_open_door(settings)
    refuse_refusing_store(settings)
    refuse_refusing_blobs(settings)
    allow_open_files()
    make_server(create_app(settings), settings).run()
    # Everything is closed; the interpreter's last look for garbage would take seconds.
    gc.freeze()


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


def refuse_open_door(settings: Settings) -> None:
    """Raises BadSettings if the address is reachable for others and no key is required."""
    if settings.api_keys or settings.allow_anonymous or is_loopback(settings.host):
        return
    raise BadSettings(
        f"RETOUCH_HOST: {settings.host} can be reached from other machines, and no keys are set. "
        "Set RETOUCH_API_KEYS, or RETOUCH_ALLOW_ANONYMOUS=1 to serve anyone who can connect."
    )


def refuse_refusing_store(settings: Settings) -> None:
    """Raises BadSettings for a store that will never do what the gateway needs. One that is away,
    full or a replica for now is waited for: until then, callers are told so.
    """
    with connect(settings.redis_url, prefix=settings.key_prefix) as client:
        try:
            for warning in examine_store(client):
                logger.warning(warning)
        except StoreRefuses as error:
            raise BadSettings(f"RETOUCH_REDIS_URL: {error}") from error
        except RetouchError as error:
            logger.warning("waiting for the store", reason=str(error))


def refuse_refusing_blobs(settings: Settings) -> None:
    """Raises BadSettings for an object store that will never do what the gateway needs."""
    try:
        examine_objects(open_blobs(settings))
    except StoreRefuses as error:
        raise BadSettings(f"RETOUCH_BLOB_URL: {error}") from error
    except RetouchError as error:
        logger.warning("waiting for the object store", reason=str(error))


def allow_open_files() -> None:
    """Raises the limit to the system's maximum: each connection is one open file, and shells give
    1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
