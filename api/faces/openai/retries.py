"""Repeated requests of OpenAI's clients make no second job.

OpenAI's clients retry requests automatically, also after a time-out, and number the attempts
(`x-stainless-retry-count`), but send no key. A request is therefore identified by its content: a
retry gets the jobs of the first attempt, and a first attempt always makes new ones.
"""

from dataclasses import dataclass
from uuid import uuid4

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.guard import who
from api.access.keys import Caller
from api.jobs.idempotency import checked_key
from api.services import Services

COUNT = "x-stainless-retry-count"
SERIES_SECONDS = 1800
# They wait half a second before the second attempt and twice as long before each later one, at most
# eight seconds.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, CONNECTING_SECONDS = 0.5, 8.0, 2.0


@dataclass(frozen=True)
class Tries:
    """Identifies all attempts of one request: a key, and how long the next attempt may take to
    arrive.

    `key` is None for a client that does not retry.
    """

    key: str | None
    patience: float
    note: str | None = None

    def of(self, place: int, again: int) -> str | None:
        """The key of job number `place`, when `again` earlier jobs have ended without a picture."""
        return f"{self.key}/{place}/{again}" if self.key else None

    @property
    def may_begin_anew(self) -> bool:
        """Whether a job that ended without a picture is made again; a client's own key stands for
        one job.
        """
        return self.note is not None


async def tries_of(request: Request, services: Services, caller: Caller, content: str) -> Tries:
    """Reads the attempt's headers. Raises InvalidFields for a bad Idempotency-Key,
    StoreUnavailable.
    """
    key, count = checked_key(request.headers.get("idempotency-key")), _count(request)
    patience = 0.0
    if count is not None:
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(count, 10))
        patience = pause + CONNECTING_SECONDS
    if key is not None or count is None:
        return Tries(key, patience)
    note = f"tries:{who(request, caller)}:{content}"
    known = await run_in_threadpool(services.notes.read, note) if count else None
    if known is None:
        known = uuid4().hex
        await run_in_threadpool(services.notes.write, note, known, SERIES_SECONDS)
    return Tries(known, patience, note)


def _count(request: Request) -> int | None:
    text = request.headers.get(COUNT, "")
    return int(text) if text.isdecimal() and len(text) < 5 else None
