"""Celery's consumer, with our own patience for a broker that is away.

Celery waits two seconds longer after every attempt, up to thirty; after a long outage the fleet
would sleep on beside a healthy broker. Here it looks twice a second, and only goes on when the
broker takes writes: without memory it would hand out hints that it cannot remember.
"""

import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from shared.errors import RetouchError
from shared.ledger.redis_client import connect, translated_errors

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
# What Kombu and Celery raise over messages that are not theirs; a worker ends by any of it.
MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class PatientConsumer(Consumer):
    """What `worker_consumer` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop: Callable[..., Any] = _tolerant(self.loop)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's own, but a message that it trips over is thrown away instead of coming back."""
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> Any:
            try:
                return handle(message)
            except MALFORMED as error:
                logger.warning("message thrown away", reason=type(error).__name__)
                message.reject()
                return None

        return guarded

    def reconnect(self) -> None:
        """Let the event loop drop its connection and make another. Any thread may ask."""
        self.call_soon(_lose_connection)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker, then connect. Ends early when the worker is told to stop."""
        with connect(self.app.conf.broker_url) as client:
            said = False
            while (reason := _why_not(client)) is not None:
                if not said:
                    logger.warning("waiting for the broker", reason=reason)
                said = True
                maybe_shutdown()
                time.sleep(LOOK_SECONDS)
        return super().ensure_connected(conn)


def _tolerant(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The event loop, which connects again after what is not even a message's envelope."""

    def run(*args: Any) -> Any:
        try:
            return loop(*args)
        except MALFORMED as error:
            logger.warning("not a message", reason=type(error).__name__)
            raise ConnectionResetError("the broker held something that is no message") from error

    return run


def _lose_connection() -> None:
    raise ConnectionResetError("no hint has come through")


def _why_not(client: redis.Redis) -> str | None:
    try:
        with translated_errors():
            client.set("consuming", 1, px=1000)
    except RetouchError as error:
        return str(error)
    return None
