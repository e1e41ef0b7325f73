"""Several photos through one service at once: each is sent, followed, fetched and written.

Owns what happens to one photo and to the whole set: a photo that fails does not stop the others,
and an interruption cancels running jobs.
"""

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from retouch.client import Client
from retouch.files import EXTENSIONS, comparison_path, free_path, with_ending, write_whole
from retouch.interrupts import Interrupts
from retouch.job_fields import JobFields
from retouch.problems import JobCanceled, RetouchProblem
from retouch.progress_view import ProgressView
from retouch.records import Job

PHOTOS_AT_ONCE = 8
LOOK_SECONDS = 0.05
OTHER_FORMAT = "other_format"
# Time from the cancel to the last event: one step of a large picture on a CPU.
CANCEL_SECONDS = 10.0


@dataclass(frozen=True)
class Order:
    """One photo, the path of its picture, and the parameters of its job.

    With `open_ending` the picture's extension still has to be added to the output's name.
    """

    photo: Path
    output: Path
    fields: JobFields
    comparison: bool = False
    open_ending: bool = False

    def of(self, job: Job) -> "Order":
        """The same order once its job has made the picture; with another format if the requested
        one cannot hold the picture.
        """
        ending = EXTENSIONS[job.picture_format]
        if self.open_ending:
            return replace(self, output=with_ending(self.output, ending), open_ending=False)
        if any(notice.code == OTHER_FORMAT for notice in job.degraded):
            return replace(self, output=free_path(self.output.with_suffix(""), ending))
        return self


@dataclass(frozen=True)
class Outcome:
    """The outcome for one photo. Without a `problem` the picture is at `order.output`."""

    order: Order
    job: Job | None
    seconds: float
    problem: RetouchProblem | None = None


class Batch:
    """One run over a set of orders. Use it once."""

    def __init__(self, client: Client, view: ProgressView, interrupts: Interrupts) -> None:
        self._client = client
        self._view = view
        self._interrupts = interrupts
        self._waiting: queue.SimpleQueue[tuple[int, Order]] = queue.SimpleQueue()
        self._running: dict[str, Job] = {}
        self._outcomes: dict[int, Outcome] = {}

    def run(self, orders: Sequence[Order]) -> list[Outcome]:
        """Every order's outcome, in the same order."""
        for number, order in enumerate(orders):
            self._waiting.put((number, order))
        # Daemon threads: a second Ctrl-C must not wait for a server that hangs.
        threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(PHOTOS_AT_ONCE, len(orders)))
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and not self._interrupts.requested:
            time.sleep(LOOK_SECONDS)
        if self._interrupts.requested:
            self._wind_up(threads)
        return [self._outcomes.get(number, _canceled(order)) for number, order in enumerate(orders)]

    def _work(self) -> None:
        with suppress(queue.Empty):
            while not self._interrupts.requested:
                number, order = self._waiting.get_nowait()
                self._outcomes[number] = self._enhance(order)

    def _enhance(self, order: Order) -> Outcome:
        started, job, problem = time.monotonic(), None, None
        row = self._view.row(order.photo.name)
        try:
            job = self._submit(order)
            job = self._client.wait(job, on_progress=row.show)
            order = order.of(job)
            self._write(order, self._client.image(job))
        except RetouchProblem as error:
            problem = error
        except OSError as error:
            problem = _disk_problem(order, error)
        finally:
            row.close()
            self._running.pop(job.id if job else "", None)
        return Outcome(order, job, time.monotonic() - started, problem)

    def _submit(self, order: Order) -> Job:
        job = self._client.submit(order.photo, idempotency_key=None, **order.fields)
        self._running[job.id] = job
        if self._interrupts.requested:
            self._client.cancel(job)
        return job

    def _write(self, order: Order, picture: bytes) -> None:
        order.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(order.output, picture)
        if order.comparison:
            from retouch.compare import before_after  # needs Pillow, which no other command does

            sheet = before_after(order.photo.read_bytes(), picture)
            write_whole(comparison_path(order.output), sheet)

    def _cancel_running(self) -> None:
        for job in list(self._running.values()):
            with suppress(RetouchProblem):
                self._client.cancel(job)

    def _wind_up(self, threads: Sequence[threading.Thread]) -> None:
        threading.Thread(target=self._cancel_running, daemon=True).start()
        deadline = time.monotonic() + CANCEL_SECONDS
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            if self._interrupts.urgent():
                return
            time.sleep(LOOK_SECONDS)


def _canceled(order: Order) -> Outcome:
    return Outcome(order, None, 0.0, JobCanceled("Canceled."))


def _disk_problem(order: Order, error: OSError) -> RetouchProblem:
    reading = error.filename is not None and Path(error.filename) == order.photo
    place = order.photo if reading else order.output
    return RetouchProblem(
        "cannot_read_photo" if reading else "cannot_write_picture",
        f"{place} cannot be {'read' if reading else 'written'}: {error.strerror or error}.",
    )
