"""The Celery application of both processes: names and settings of the hints.

Owns how a hint is sent. A hint carries a job id and nothing else; the ledger
(shared/ledger/store.py) stores whether the job exists, which job is next, and the outcome.
"""

from functools import cache
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.transport import TRANSPORT_ALIASES
from redis.exceptions import RedisError

from shared.errors import StoreUnavailable
from shared.settings import Settings
from shared.store_url import kombu_url, sentinel_group

RUN_TASK = "retouch.run"

# By name, so that they are imported with the first connection.
TRANSPORTS = {
    "redis": "shared.ledger.broker:Transport",
    "rediss": "shared.ledger.broker:Transport",
    "sentinel": "shared.ledger.broker:SentinelTransport",
}

# Kombu wraps errors during connecting, but not those on an existing connection.
RECOVERABLE = (RedisError, OSError)

PENDING_SECONDS = 2.0


def queue_name(base: str) -> str:
    """One queue per base, so that workers with different bases can share a fleet."""
    return f"retouch.{base}"


@cache
def queue_of(base: str) -> Queue:
    """The queue of a base, with the exchange that Celery gives to a worker's own queue."""
    name = queue_name(base)
    return Queue(name, Exchange(name), routing_key=name)


def make_celery(settings: Settings, base: str) -> Celery:
    """The application for sending and consuming hints."""
    TRANSPORT_ALIASES.update(TRANSPORTS)
    app = Celery("retouch", broker=kombu_url(settings.broker))
    group = sentinel_group(settings.broker)
    app.conf.update(
        # As the rest of the project spells it.
        store_url=settings.broker,
        store_prefix=settings.key_prefix,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_concurrency=settings.admission_window or None,
        worker_send_task_events=True,
        task_default_queue=queue_name(base),
        task_queues=[queue_of(base)],
        task_create_missing_queues=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=settings.grace_seconds,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Redis without free memory answers with an error: reconnect instead of exiting.
        broker_channel_error_retry=True,
        task_publish_retry=False,
        # The ledger recovers jobs. broker.py records no received hints, so nothing expires; where
        # Kombu's own transport does, a timeout shorter than a job would start it twice.
        broker_transport_options={
            "visibility_timeout": 86_400,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 5,
            # For sending: a hint is not worth the six seconds for which Kombu retries by default.
            "max_retries": 1,
            "interval_start": 0.05,
            "interval_step": 0,
            "interval_max": 0.05,
            **({"master_name": group.name} if group else {}),
            **({"global_keyprefix": settings.key_prefix} if settings.key_prefix else {}),
        },
    )
    return app


class Hints:
    """Sends hints. A lost hint costs seconds, never a job: the reaper sends another.

    `base` is the one that is meant if a call names none.
    """

    def __init__(self, app: Celery, base: str) -> None:
        self._app = app
        self._base = base

    def send(self, job_id: str, priority: str = "", base: str = "") -> None:
        """Tells a worker of this base that a job is queued. Raises StoreUnavailable."""
        try:
            # Whichever job is next runs, so people are shown the queue and not this job's id.
            self._app.send_task(
                RUN_TASK,
                args=[job_id],
                argsrepr=f"({', '.join(filter(None, (base or self._base, priority)))})",
                kwargsrepr="{}",
                queue=queue_of(base or self._base),  # type: ignore[arg-type]
                retry=False,
            )
        except (OperationalError, *RECOVERABLE) as error:
            raise StoreUnavailable("the broker does not answer") from error

    def pending(self, base: str = "") -> int:
        """Hints that no worker of this base has received yet. Raises StoreUnavailable."""
        name = queue_name(base or self._base)
        try:
            pool: Any = self._app.pool  # a pool of connections, unlike the stub says
            with pool.acquire(block=True, timeout=PENDING_SECONDS) as connection:
                return int(connection.default_channel.client.llen(name))
        except (OperationalError, LimitExceeded, *RECOVERABLE) as error:
            raise StoreUnavailable("the broker does not answer") from error
