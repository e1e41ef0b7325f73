"""The caller's current request: `progress` reports it and `interrupt` ends it.

Owns the list of requests in the store, so that any gateway can answer. AUTOMATIC1111 has one
request at a time for everyone; here each caller has one, and callers without a key one per address.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.guard import who
from api.access.keys import Caller
from api.services import Services
from shared.errors import JobNotFound
from shared.jobs import Job

LIFE_SECONDS = 3600


@dataclass(frozen=True)
class Current:
    """A waiting request: its task's name, as given by the client, and its jobs in order."""

    task: str
    jobs: list[Job]

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.state.is_terminal]


@asynccontextmanager
async def noted(
    request: Request, services: Services, caller: Caller, task: str, job_ids: list[str]
) -> AsyncIterator[None]:
    """Lists this among the caller's requests while inside the block."""
    name, item = _name(request, caller), json.dumps({"task": task, "jobs": job_ids})
    await run_in_threadpool(services.notes.add, name, [item], LIFE_SECONDS)
    try:
        yield
    finally:
        services.notes.remove_later(name, [item])


def current_requests(request: Request, services: Services, caller: Caller) -> list[Current]:
    """The caller's requests with waiting or running jobs, the oldest first."""
    found = []
    for text in services.notes.items(_name(request, caller)):
        facts = json.loads(text)
        jobs = []
        for job_id in facts["jobs"]:
            with suppress(JobNotFound):
                jobs.append(services.store.get(job_id))
        found.append(Current(facts["task"], jobs))
    return [one for one in found if one.unfinished]


def _name(request: Request, caller: Caller) -> str:
    return f"sdapi:{who(request, caller)}"
