"""Waiting webhooks: which are due, and the outcome of each attempt.

Owns `webhooks` in the store: job ids by the time of their next attempt. The script that ends a job
also adds it there, so that no crash can separate the two. Knows nothing of HTTP.
"""

from dataclasses import dataclass

import redis

from shared.jobs import DeliveryState
from shared.ledger.scripts import Scripts
from shared.settings import Settings


@dataclass(frozen=True)
class Due:
    """One attempt to make; the first is attempt 1."""

    job_id: str
    attempt: int


class Deliveries:
    """The waiting webhooks. Called from threads; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._scripts = Scripts(client)
        self._ttl = settings.job_ttl_seconds

    def take(self, limit: int, lease_seconds: float) -> list[Due]:
        """Takes due webhooks, which belong to the caller for the lease's time and are then due
        again.
        """
        flat = self._scripts.run("take_webhooks", limit, int(lease_seconds * 1000), self._ttl)
        return [Due(*pair) for pair in zip(flat[0::2], flat[1::2], strict=True)]

    def extend(self, due: Due, lease_seconds: float) -> None:
        """Lets an attempt in progress belong to the caller for so long from now."""
        self._scripts.run("extend_webhook", due.job_id, due.attempt, int(lease_seconds * 1000))

    def delivered(self, due: Due) -> None:
        """Records that the receiver has accepted it."""
        self._settle(due, DeliveryState.DELIVERED, "")

    def put_off(self, due: Due, reason: str, wait_seconds: float) -> None:
        """Records a failed attempt; `reason` is a code."""
        self._settle(due, DeliveryState.WAITING, reason, wait_seconds)

    def give_up(self, due: Due, reason: str) -> None:
        """Records that it is not retried."""
        self._settle(due, DeliveryState.GIVEN_UP, reason)

    def _settle(self, due: Due, state: DeliveryState, reason: str, wait: float = 0.0) -> None:
        self._scripts.run(
            "settle_webhook", due.job_id, due.attempt, state, reason, int(wait * 1000), self._ttl
        )
