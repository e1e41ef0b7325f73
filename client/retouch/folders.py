"""A folder of photos through the service: tree, names and times are kept, originals are not
changed.

Owns which photos there are, the names of their pictures, and the rule that each is done once
however often the run is killed and restarted. Holds no list of the photos, so memory use stays
constant.
"""

import hashlib
import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from retouch.client import Client
from retouch.files import EXTENSIONS, PHOTOS, BadOutput, with_ending, write_whole
from retouch.interrupts import Interrupts
from retouch.job_fields import JobFields
from retouch.journal import Journal, Line
from retouch.problems import JobCanceled, RetouchProblem
from retouch.progress_view import ProgressView, Row
from retouch.records import Job, Progress
from retouch.told import told

PHOTOS_AT_ONCE = 8
MOST_TRIES = 8
# A finished picture, its file's extension and what was done.
Made = tuple[bytes, str, str]


class FolderRun:
    """One run from a folder into another. Use it once, or with `watch` repeatedly."""

    def __init__(
        self,
        client: Client,
        view: ProgressView,
        interrupts: Interrupts,
        journal: Journal,
        source: Path,
        output: Path,
        fields: JobFields,
        retry_failed: bool = False,
    ) -> None:
        self._client = client
        self._view = view
        self._interrupts = interrupts
        self._journal = journal
        self._source = source
        self._output = output
        self._fields = fields
        self._retry_failed = retry_failed
        self._lock = threading.Lock()
        self._running: dict[str, Job] = {}
        self.done = self.skipped = self.seen = 0
        self.problems: list[tuple[str, RetouchProblem]] = []

    def run(self, photos: Iterator[Path]) -> None:
        """Processes these photos, several at a time, as they arrive."""
        waiting: queue.Queue[Path | None] = queue.Queue(2 * PHOTOS_AT_ONCE)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True)
            for _ in range(PHOTOS_AT_ONCE)
        ]
        row = self._view.row("")
        for thread in threads:
            thread.start()
        for photo in photos:
            self.seen += 1
            while not self._interrupts.requested:
                self._show(row)
                with suppress(queue.Full):
                    waiting.put(photo, timeout=0.1)
                    break
            if self._interrupts.requested:
                break
        self._finish(waiting, threads, row)

    def _finish(
        self, waiting: "queue.Queue[Path | None]", threads: list[threading.Thread], row: Row
    ) -> None:
        ends = len(threads)
        while any(thread.is_alive() for thread in threads) and not self._interrupts.urgent():
            with suppress(queue.Full):
                while ends:
                    waiting.put_nowait(None)
                    ends -= 1
            if self._interrupts.requested:
                self._cancel_running()
            threads[0].join(0.1)
            self._show(row)
        row.close()

    def _show(self, row: Row) -> None:
        ended = self.done + self.skipped + len(self.problems)
        text = f"{ended} of {self.seen} photos"
        row.show(Progress(percent=100 * ended / max(1, self.seen), message=text))

    def _work(self, waiting: "queue.Queue[Path | None]") -> None:
        while (photo := waiting.get()) is not None:
            if not self._interrupts.requested:
                self._enhance(photo)

    def _enhance(self, photo: Path) -> None:
        name = photo.relative_to(self._source).as_posix()
        try:
            data = photo.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            known = self._journal.line(name)
            if self._is_done(known, sha256):
                with self._lock:
                    self.skipped += 1
                return
            self._make(photo, name, data, sha256, known)
        except OSError as error:
            detail = f"{name}: {error.strerror or error}"
            self._note(name, RetouchProblem("disk", detail, retryable=True))

    def _is_done(self, known: Line | None, sha256: str) -> bool:
        if known is None or known.sha256 != sha256:
            return False
        if known.error is not None:
            return not self._retry_failed
        return (self._output / known.output).exists()

    def _make(self, photo: Path, name: str, data: bytes, sha256: str, known: Line | None) -> None:
        row, tries = self._view.row(name), known.tries if known else 0
        try:
            picture, ending, done = self._copy_of(sha256) or self._enhanced(
                data, sha256, tries, row
            )
        except JobCanceled as problem:
            self._note(name, problem)  # not the photo's fault: the next run makes it
            return
        except RetouchProblem as problem:
            self._note(name, problem)
            if not problem.retryable and not self._interrupts.requested:
                line = Line(name, sha256, "", problem.code, problem.detail, tries + 1)
                self._journal.write(line)
            return
        finally:
            row.close()
        output = self._name_of(name, ending)
        target, times = self._output / output, photo.stat()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, picture)
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        self._journal.write(Line(name, sha256, output))
        self._view.say(f"{name}: {done}")
        with self._lock:
            self.done += 1

    def _copy_of(self, sha256: str) -> Made | None:
        """The picture of another photo with the same content."""
        same = self._journal.same(sha256)
        if same is None:
            return None
        with suppress(OSError):
            path = self._output / same.output
            return path.read_bytes(), path.suffix, f"the same photo as {same.photo}"
        return None

    def _enhanced(self, data: bytes, sha256: str, tries: int, row: Row) -> Made:
        job = self._submit(data, sha256, tries)
        with self._lock:
            self._running[job.id] = job
        try:
            job = self._client.wait(job, on_progress=row.show)
            return self._client.image(job), EXTENSIONS[job.picture_format], told(job)
        finally:
            with self._lock:
                self._running.pop(job.id, None)

    def _submit(self, data: bytes, sha256: str, tries: int) -> Job:
        """The photo's job: that of a killed run, unless it has ended without a picture."""
        for again in range(MOST_TRIES):
            asked = json.dumps(
                [sha256, tries, again, self._fields], sort_keys=True, default=_digest
            )
            key = hashlib.sha256(asked.encode()).hexdigest()
            job = self._client.submit(data, idempotency_key=key, **self._fields)
            if job.state != "canceled" and not (job.error or {}).get("retryable"):
                return job
        return job

    def _name_of(self, name: str, ending: str) -> str:
        """The photo's relative path with the picture's extension; the photo's own is kept if names
        collide.
        """
        path = Path(name)
        for bare in (path.with_name(path.stem), path):
            output = with_ending(bare, ending).as_posix()
            if self._journal.claim(output, name):
                return output
        number = 2
        while True:
            output = with_ending(path, f"-{number}{ending}").as_posix()
            if self._journal.claim(output, name):
                return output
            number += 1

    def _note(self, name: str, problem: RetouchProblem) -> None:
        with self._lock:
            self.problems.append((name, problem))

    def _cancel_running(self) -> None:
        with self._lock:
            running, self._running = list(self._running.values()), {}
        for job in running:
            with suppress(RetouchProblem):
                self._client.cancel(job)


def _digest(mask: bytes) -> str:
    return hashlib.sha256(mask).hexdigest()


def photos_in(source: Path, output: Path) -> Iterator[Path]:
    """The photos below a folder, in a fixed order; hidden ones and those of OUT are left out.

    Raises BadOutput if the two folders are the same, FileNotFoundError.
    """
    if not source.is_dir():
        raise BadOutput(f"{source} is not a folder.")
    if source.resolve() == output.resolve():
        raise BadOutput(f"{output} contains the photos; choose another folder for the pictures.")
    return _below(source, output.resolve())


def _below(folder: Path, output: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink() and entry.resolve() != output:
            yield from _below(entry, output)
        elif entry.suffix.lower() in PHOTOS and entry.is_file():
            yield entry
