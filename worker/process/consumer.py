"""Celery's consumer, with a shorter wait for an unreachable broker.

Celery waits two seconds longer after every attempt, up to thirty; after a long outage the fleet
would keep waiting beside a healthy broker. This consumer checks twice a second, and continues only
when the broker accepts writes: without free memory it would deliver hints without recording that.
Events for monitors are sent a few times a second, not one by one.
"""

import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from celery.worker import state
from celery.worker.consumer import Consumer

from shared.errors import RetouchError
from shared.ledger.redis_client import connect, translated_errors

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
# How long monitors wait for an event; one message with many events costs as much as with one.
EVENTS_SECONDS = 0.2
# Errors that Kombu and Celery raise for messages that are not theirs; any of them would end a
# worker.
MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class PatientConsumer(Consumer):
    """The class that `worker_consumer` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop: Callable[..., Any] = _tolerant(self.loop)
        self._events_due = float("-inf")

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's handler, except that a message that makes it fail is discarded instead of
        redelivered.
        """
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> Any:
            try:
                return handle(message)
            except MALFORMED as error:
                logger.warning("message discarded", reason=type(error).__name__)
                message.reject()
                return None

        return guarded

    def on_send_event_buffered(self) -> Any:
        """Called from any thread for every event of a task: the first of a batch sets its time. A
        worker that is stopping sends at once, since its timers may not come any more.
        """
        now = time.monotonic()
        if _is_told_to_stop():
            super().on_send_event_buffered()
        elif now >= self._events_due:
            self._events_due = now + EVENTS_SECONDS
            hub, flush = self.hub, self._flush_events  # type: ignore[attr-defined]
            hub.call_soon(hub.call_later, EVENTS_SECONDS, flush)

    def stop(self) -> Any:
        """Sends what waits first: monitors must not show the last job as running for ever."""
        try:
            self._flush_events()  # type: ignore[attr-defined]
        except Exception as error:
            logger.warning("the last events were not sent", reason=type(error).__name__)
        return super().stop()

    def reconnect(self) -> None:
        """Makes the event loop drop its connection and open a new one. Any thread may call it."""
        self.call_soon(_lose_connection)

    def ensure_connected(self, conn: Any) -> Any:
        """Waits for the broker, then connects. Returns early when the worker is told to stop."""
        conf = self.app.conf
        with connect(conf.store_url, prefix=conf.store_prefix) as client:
            said = False
            while (reason := _why_not(client)) is not None:
                if not said:
                    logger.warning("waiting for the broker", reason=reason)
                said = True
                state.maybe_shutdown()
                time.sleep(LOOK_SECONDS)
        return super().ensure_connected(conn)


def _tolerant(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The event loop, which reconnects after data that is not even a message's envelope."""

    def run(*args: Any) -> Any:
        try:
            return loop(*args)
        except MALFORMED as error:
            logger.warning("not a message", reason=type(error).__name__)
            raise ConnectionResetError(
                "the broker contained something that is not a message"
            ) from error

    return run


def _is_told_to_stop() -> bool:
    # Exit codes, of which 0 tells to stop as well.
    told = (state.should_stop, state.should_terminate)
    return any(code is not None and code is not False for code in told)


def _lose_connection() -> None:
    raise ConnectionResetError("no hint has arrived")


def _why_not(client: redis.Redis) -> str | None:
    try:
        with translated_errors():
            client.set("consuming", 1, px=1000)
    except RetouchError as error:
        return str(error)
    return None
