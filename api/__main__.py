"""`python -m api`: run the gateway until SIGTERM or Ctrl-C.

Owns what is refused before anything is served: addresses that may not be bound without keys, and
stores that will never do.
"""

import gc
import resource

import structlog

from api.access.keys import is_loopback
from shared.blobs import open_blobs
from shared.collector import no_collection
from shared.errors import RetouchError, StoreRefuses
from shared.ledger.redis_client import connect
from shared.ledger.store_check import examine_store
from shared.log import configure_logging
from shared.object_blobs import examine_objects
from shared.process_help import take_no_arguments
from shared.settings import BadSettings, Settings, load_settings
from shared.tracing import configure_tracing

OPEN_FILES = 16_384

logger = structlog.get_logger(__name__)


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
    # Three quarters of the start: only now, so that a refusal comes soon.
    with no_collection():
        from api.app import create_app
        from api.server.listening import make_server
    try:
        make_server(create_app(settings), settings).run()
    finally:
        # Everything is closed; the interpreter's last look for garbage would take seconds.
        gc.freeze()


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
