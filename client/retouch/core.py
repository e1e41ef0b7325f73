"""A client's operations, once for the blocking and the asynchronous client.

Owns the routes' names and the data that callers need from them. Knows nothing of threads and event
loops: the transport does.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Unpack
from uuid import uuid4

from retouch.answers import problem_from_error, read_items, read_json, read_picture, read_record
from retouch.connection import Connection
from retouch.events import follow
from retouch.files import write_whole
from retouch.job_fields import MASK, JobFields, Photo, form_fields, named_bytes
from retouch.patience import Deadline
from retouch.problems import JobCanceled, NoWorker, RetouchProblem, WaitTimeout
from retouch.records import Event, Job, Lora, Progress, Upscaler, Worker

PROBE_SECONDS = 3.0
OnProgress = Callable[[Progress], None]


class Core:
    """Every operation of a client. `client.py` documents them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def url(self) -> str:
        """The service's address."""
        return self._connection.url

    async def close(self) -> None:
        """Closes every connection."""
        await self._connection.transport.close()

    async def submit(
        self,
        photo: Photo | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Sends a photo and returns its job at once."""
        arguments: dict[str, Any] = {"data": form_fields(fields), "files": {}}
        for part, picture in (("image", photo), (MASK, fields.get(MASK))):
            if picture is not None:
                name, data = await self._connection.transport.offload(partial(named_bytes, picture))
                arguments["files"][part] = (name, data, "application/octet-stream")
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        response = await self._connection.request("POST", "/v1/jobs", headers=headers, **arguments)
        return read_record(response, Job)

    async def job(self, job: Job | str) -> Job:
        """The current state of the job."""
        return await self._look(_id(job), Deadline())

    async def events(self, job: Job | str) -> AsyncGenerator[Event, None]:
        """Every event of the job up to the last one, resumed after lost connections."""
        async with aclosing(follow(self._connection, _id(job), Deadline())) as events:
            async for event in events:
                yield event

    async def wait(
        self,
        job: Job | str,
        on_progress: OnProgress | None = None,
        *,
        timeout: float | None = None,
    ) -> Job:
        """Waits until the job has succeeded."""
        return _succeeded(await self._ended(_id(job), on_progress, timeout))

    async def cancel(self, job: Job | str) -> None:
        """Cancels a job: a waiting one at once, a running one within one step."""
        await self._connection.request("DELETE", f"/v1/jobs/{_id(job)}")

    async def image(self, job: Job | str) -> bytes:
        """The finished picture's bytes, verified with the service's checksum."""
        path = f"/v1/jobs/{_id(job)}/image"
        # Perhaps to an object store; the key stays with the service.
        response = await self._connection.request("GET", path, follow_redirects=True)
        return read_picture(response)

    async def save(self, job: Job | str, path: Path) -> Path:
        """Writes the finished picture to `path`, completely or not at all; returns `path`."""
        picture = await self.image(job)
        await self._connection.transport.offload(partial(write_whole, path, picture))
        return path

    async def loras(self) -> list[Lora]:
        """Every LoRA of the service; unusable ones with the reason."""
        return read_items(await self._connection.request("GET", "/v1/loras"), Lora)

    async def upscalers(self) -> list[Upscaler]:
        """Every enlarger of the service; unusable ones with the reason."""
        return read_items(await self._connection.request("GET", "/v1/upscalers"), Upscaler)

    async def workers(self) -> list[Worker]:
        """Every live worker."""
        return read_items(await self._connection.request("GET", "/v1/workers"), Worker)

    async def is_retouch(self) -> bool:
        """Whether this address belongs to a retouch service, healthy or not."""
        path = "/v1/capabilities"
        try:
            response = await self._connection.request("GET", path, seconds=PROBE_SECONDS)
            return "limits" in read_json(response)
        except RetouchProblem as problem:
            return problem.code not in ("unreachable", "unexpected_answer")

    async def readiness(self) -> RetouchProblem | None:
        """None if the service can accept and process a job, otherwise what is missing."""
        try:
            answer = await self._connection.request("GET", "/readyz", seconds=PROBE_SECONDS)
            checks = read_json(answer)["checks"]
        except RetouchProblem as problem:
            return problem
        except (LookupError, TypeError):
            return None
        if checks.get("worker") == "no_worker":
            return NoWorker("no_worker", "No worker is running right now.", retryable=True)
        return None

    async def _look(self, job_id: str, deadline: Deadline) -> Job:
        response = await self._connection.request("GET", f"/v1/jobs/{job_id}", deadline=deadline)
        return read_record(response, Job)

    async def _ended(self, job_id: str, on_progress: OnProgress | None, limit: float | None) -> Job:
        """Waits for the end of the job and returns it. Raises WaitTimeout."""
        deadline = Deadline(limit)
        try:
            if not deadline.has_passed:
                await self._watch(job_id, on_progress, deadline)
                return await self._look(job_id, deadline)
        except RetouchProblem as problem:
            if limit is None or not (deadline.has_passed and problem.retryable):
                raise
            raise WaitTimeout(job_id, limit) from problem
        job = await self.job(job_id)
        if limit is not None and not job.is_terminal:
            raise WaitTimeout(job_id, limit)
        return job

    async def _watch(self, job_id: str, on_progress: OnProgress | None, deadline: Deadline) -> None:
        async with aclosing(follow(self._connection, job_id, deadline)) as events:
            async for event in events:
                if on_progress and event.progress:
                    on_progress(event.progress)


def _succeeded(job: Job) -> Job:
    if job.state == "canceled":
        raise JobCanceled
    if job.error:
        raise problem_from_error(job.error)
    return job


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id
