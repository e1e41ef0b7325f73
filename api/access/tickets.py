"""Short-lived permits for following one job, for clients that cannot send headers: EventSource and
WebSocket.

Owns `ticket:{sha256}`. A ticket can be used until it expires, since EventSource reconnects to the
same address.
"""

import secrets
from hashlib import sha256

import redis

from shared.ledger.redis_client import translated_errors

TICKET_SECONDS = 300


class Tickets:
    """Issues tickets and looks them up. Called from threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def issue(self, job_id: str, client: str) -> str:
        """A new ticket for this job of this client."""
        ticket = secrets.token_urlsafe(24)
        with translated_errors():
            self._redis.set(_key(ticket), f"{job_id} {client}", ex=TICKET_SECONDS)
        return ticket

    def holder(self, ticket: str, job_id: str) -> str | None:
        """The client to whom the ticket for this job was issued; None for any other ticket."""
        with translated_errors():
            known = self._redis.get(_key(ticket))
        job, _, client = str(known or "").partition(" ")
        return client if job == job_id else None


def _key(ticket: str) -> str:
    return f"ticket:{sha256(ticket.encode('utf-8', 'replace')).hexdigest()}"
