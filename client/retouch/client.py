"""The blocking client: send a photo, follow its job, fetch the picture.

    with Client("http://127.0.0.1:8000") as retouch:
        job = retouch.submit("photo.jpg", lora="face_restore", strength=0.4)
        retouch.wait(job, on_progress=lambda p: print(f"{p.percent:.0f} %"))
        retouch.save(job, Path("better.png"))

Owns the documentation of every operation. `core.py` implements them.
"""

from collections.abc import AsyncGenerator, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from retouch.connection import Connection
from retouch.core import Core, OnProgress
from retouch.job_fields import JobFields, Photo
from retouch.problems import RetouchProblem
from retouch.records import Event, Job, Lora, Upscaler, Worker
from retouch.transport import BlockingTransport, checked_url, headers_for

DEFAULT_PATIENCE_SECONDS = 60.0

Value = TypeVar("Value")


class Client:
    """A connection to one retouch service. Close it, or use it in a `with` block.

    Requests that meet a lost connection, 429 or 503 are retried for `patience_seconds`, as
    `Retry-After` asks. Safe to use from several threads. Every method raises RetouchProblem; its
    subclasses in `retouch.problems` tell the reasons apart.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        language: str | None = None,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
    ) -> None:
        address = checked_url(url)
        transport = BlockingTransport(address, headers_for(api_key, language))
        self._core = Core(Connection(transport, address, patience_seconds))

    @property
    def url(self) -> str:
        """The service's address."""
        return self._core.url

    def close(self) -> None:
        """Closes every connection."""
        _done(self._core.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(
        self,
        photo: Photo | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Sends a photo (a path or its bytes) and returns its job at once.

        `fields` are those of `POST /v1/jobs`: lora (one `name[:scale]`, or several), strength,
        steps, seed and so on; `image_id` instead of a photo refers to one that was sent before;
        `mask`, a path or bytes, is a picture that is white where the result replaces the photo. The
        request carries an idempotency key, so that a repeated one never makes a second job.
        """
        return _done(self._core.submit(photo, idempotency_key=idempotency_key, **fields))

    def job(self, job: Job | str) -> Job:
        """The current state of the job."""
        return _done(self._core.job(job))

    def events(self, job: Job | str) -> Iterator[Event]:
        """Every event of the job up to the last one, resumed after lost connections."""
        return _each(self._core.events(job))

    def wait(
        self,
        job: Job | str,
        on_progress: OnProgress | None = None,
        *,
        timeout: float | None = None,
    ) -> Job:
        """Blocks until the job has succeeded.

        Raises the problem of a job that failed, JobCanceled, and WaitTimeout (a TimeoutError) if it
        has not ended within `timeout` seconds; the job then continues and can be waited for again.
        """
        return _done(self._core.wait(job, on_progress, timeout=timeout))

    def cancel(self, job: Job | str) -> None:
        """Cancels a job: a waiting one at once, a running one within one step.

        Raises AlreadyFinished if it is too late.
        """
        _done(self._core.cancel(job))

    def image(self, job: Job | str) -> bytes:
        """The finished picture's bytes, verified with the service's checksum."""
        return _done(self._core.image(job))

    def save(self, job: Job | str, path: Path) -> Path:
        """Writes the finished picture to `path`, completely or not at all; returns `path`.

        Raises OSError if writing fails.
        """
        return _done(self._core.save(job, path))

    def loras(self) -> list[Lora]:
        """Every LoRA of the service; unusable ones with the reason."""
        return _done(self._core.loras())

    def upscalers(self) -> list[Upscaler]:
        """Every enlarger of the service; unusable ones with the reason."""
        return _done(self._core.upscalers())

    def workers(self) -> list[Worker]:
        """Every live worker."""
        return _done(self._core.workers())

    def is_retouch(self) -> bool:
        """Whether this address belongs to a retouch service, healthy or not."""
        return _done(self._core.is_retouch())

    def readiness(self) -> RetouchProblem | None:
        """None if the service can accept and process a job, otherwise what is missing."""
        return _done(self._core.readiness())


def _done(work: Coroutine[Any, Any, Value]) -> Value:
    """The work's result. Over the blocking transport the work never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        value: Value = end.value
        return value
    work.close()
    raise AssertionError("the blocking transport has suspended")


def _each(values: AsyncGenerator[Value, None]) -> Iterator[Value]:
    try:
        while True:
            try:
                yield _done(values.asend(None))
            except StopAsyncIteration:
                return
    finally:
        _done(values.aclose())
