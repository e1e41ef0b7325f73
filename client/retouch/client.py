"""The Python client: send a photo, watch it being worked on, fetch the picture.

    with Client("http://127.0.0.1:8000") as retouch:
        job = retouch.submit(Path("photo.jpg"), lora="face_restore", strength=0.4)
        retouch.wait(job, on_progress=lambda p: print(f"{p.percent:.0f} %"))
        retouch.save(job, Path("better.png"))

Owns the routes' names and what a caller needs of them. Knows nothing of queues or models.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from retouch.events import follow
from retouch.files import write_whole
from retouch.form import Param, form_fields, named_bytes
from retouch.problems import Damaged, RetouchProblem, problem_from_error, problem_from_response
from retouch.records import Event, Job, Lora, Progress, Worker
from retouch.transport import Transport

DEFAULT_PATIENCE_SECONDS = 60.0
PROBE_SECONDS = 3.0
SHA256 = re.compile("[0-9a-f]{64}")


class Client:
    """A connection to one retouch service. Close it, or use it in a `with` block.

    Requests that meet a lost connection, 429 or 503 are tried again for `patience_seconds`, as
    `Retry-After` asks. Safe to use from several threads. Every method raises RetouchProblem.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        language: str | None = None,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
    ) -> None:
        self._transport = Transport(
            url, api_key=api_key, language=language, patience_seconds=patience_seconds
        )

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

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
        self, photo: Path | bytes, *, idempotency_key: str | None = None, **params: Param
    ) -> Job:
        """Send a photo (PNG, JPEG or WebP) and get its job, at once.

        `params` are the fields of `POST /v1/jobs`: lora (one `name[:scale]`, or several), strength,
        steps, seed, max_side, format and so on; None leaves one to the service. The request
        carries an idempotency key, so that a repeated one never makes a second job.
        """
        name, data = named_bytes(photo)
        response = self._transport.request(
            "POST",
            "/v1/jobs",
            files={"image": (name, data, "application/octet-stream")},
            data=form_fields(params),
            headers={"Idempotency-Key": idempotency_key or uuid4().hex},
        )
        return Job.model_validate(response.json())

    def job(self, job: Job | str) -> Job:
        """The job as it is now."""
        return Job.model_validate(self._get(f"/v1/jobs/{_id(job)}"))

    def events(self, job: Job | str) -> Iterator[Event]:
        """Every event of the job up to the last one, resumed after lost connections."""
        return follow(self._transport, _id(job))

    def wait(self, job: Job | str, on_progress: Callable[[Progress], None] | None = None) -> Job:
        """Block until the job has succeeded.

        Raises RetouchProblem with the job's own code when it failed, and with code `canceled`.
        """
        for event in self.events(job):
            progress = event.progress
            if on_progress and progress:
                on_progress(progress)
        return _succeeded(self.job(job))

    def cancel(self, job: Job | str) -> None:
        """Stop a job: at once when it waits, within one step when it runs.

        Raises RetouchProblem `already_finished` when it is too late.
        """
        self._transport.request("DELETE", f"/v1/jobs/{_id(job)}")

    def image(self, job: Job | str) -> bytes:
        """The finished picture's bytes, checked against the service's checksum."""
        response = self._transport.request("GET", f"/v1/jobs/{_id(job)}/image")
        vouched = response.headers.get("ETag", "").strip('"')
        if SHA256.fullmatch(vouched) and vouched != sha256(response.content).hexdigest():
            raise Damaged
        return response.content

    def save(self, job: Job | str, path: Path) -> Path:
        """Write the finished picture to `path`, whole or not at all; returns `path`.

        Raises OSError where the disk refuses.
        """
        write_whole(path, self.image(job))
        return path

    def loras(self) -> list[Lora]:
        """Every LoRA that the service knows, the unusable ones with the reason."""
        return [Lora.model_validate(item) for item in self._get("/v1/loras")["items"]]

    def workers(self) -> list[Worker]:
        """Every worker that is alive."""
        return [Worker.model_validate(item) for item in self._get("/v1/workers")["items"]]

    def is_retouch(self) -> bool:
        """Whether what answers at this address is a retouch service, healthy or not."""
        try:
            return "limits" in self._get("/v1/capabilities", timeout=PROBE_SECONDS)
        except RetouchProblem as problem:
            return problem.code not in ("unreachable", "unexpected_answer")

    def readiness(self) -> RetouchProblem | None:
        """None when the service can take a job and work on it, else what it still lacks."""
        try:
            self._transport.request("GET", "/readyz", timeout=PROBE_SECONDS)
        except RetouchProblem as problem:
            return problem
        return None

    def _get(self, path: str, **arguments: Any) -> Any:
        response = self._transport.request("GET", path, **arguments)
        try:
            return response.json()
        except ValueError as error:
            raise problem_from_response(response) from error


def _succeeded(job: Job) -> Job:
    if job.state == "canceled":
        raise RetouchProblem("canceled", "The job was canceled.")
    if job.error:
        raise problem_from_error(job.error)
    return job


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id
