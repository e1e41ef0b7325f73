"""The blocking client: send a photo, watch it being worked on, fetch the picture.

    with Client("http://127.0.0.1:8000") as retouch:
        job = retouch.submit("photo.jpg", lora="face_restore", strength=0.4)
        retouch.wait(job, on_progress=lambda p: print(f"{p.percent:.0f} %"))
        retouch.save(job, Path("better.png"))

Owns the documentation of every operation. `core.py` does them.
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

    Requests that meet a lost connection, 429 or 503 are tried again for `patience_seconds`, as
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
        """Close every connection."""
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
        """Send a photo (PNG, JPEG or WebP; a path or its bytes) and get its job, at once.

        `fields` are those of `POST /v1/jobs`: lora (one `name[:scale]`, or several), strength,
        steps, seed and so on; `image_id` instead of a photo names one that was sent before. The
        request carries an idempotency key, so that a repeated one never makes a second job.
        """
        return _done(self._core.submit(photo, idempotency_key=idempotency_key, **fields))

    def job(self, job: Job | str) -> Job:
        """The job as it is now."""
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
        """Block until the job has succeeded.

        Raises the problem of a job that failed, JobCanceled, and WaitTimeout (a TimeoutError) when
        it has not ended within `timeout` seconds; then it goes on and can be waited for again.
        """
        return _done(self._core.wait(job, on_progress, timeout=timeout))

    def cancel(self, job: Job | str) -> None:
        """Stop a job: at once when it waits, within one step when it runs.

        Raises AlreadyFinished when it is too late.
        """
        _done(self._core.cancel(job))

    def image(self, job: Job | str) -> bytes:
        """The finished picture's bytes, compared with the service's checksum."""
        return _done(self._core.image(job))

    def save(self, job: Job | str, path: Path) -> Path:
        """Write the finished picture to `path`, whole or not at all; returns `path`.

        Raises OSError where the disk refuses.
        """
        return _done(self._core.save(job, path))

    def loras(self) -> list[Lora]:
        """Every LoRA that the service knows, the unusable ones with the reason."""
        return _done(self._core.loras())

    def upscalers(self) -> list[Upscaler]:
        """Every enlarger that the service knows, the unusable ones with the reason."""
        return _done(self._core.upscalers())

    def workers(self) -> list[Worker]:
        """Every worker that is alive."""
        return _done(self._core.workers())

    def is_retouch(self) -> bool:
        """Whether what answers at this address is a retouch service, healthy or not."""
        return _done(self._core.is_retouch())

    def readiness(self) -> RetouchProblem | None:
        """None when the service can take a job and work on it, else what it still lacks."""
        return _done(self._core.readiness())


def _done(work: Coroutine[Any, Any, Value]) -> Value:
    """What the work returns. Over the blocking transport it never suspends."""
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
