"""`retouch enhance DIR -r -o OUT` and `retouch watch IN OUT`: whole folders.

Owns the messages of a run, and when a watched file counts as complete.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from retouch.console import complain, err, say
from retouch.files import BadOutput
from retouch.folders import FolderRun, photos_in
from retouch.interrupts import Interrupts
from retouch.job_fields import AskedFormat, JobFields
from retouch.journal import Journal
from retouch.progress_view import ProgressView
from retouch.service import service

LOOK_SECONDS = 1.0


def enhance_folder(source: Path, output: str | None, fields: JobFields, retry_failed: bool) -> None:
    """Exits with 1 if a picture is missing, 130 if it was stopped."""
    if output is None:
        raise BadOutput("A folder needs -o OUT, another folder for the pictures.")
    target = Path(output)
    photos = photos_in(source, target)
    with (
        Interrupts() as interrupts,
        service(interrupts) as client,
        ProgressView(err) as view,
        Journal(target) as journal,
    ):
        run = FolderRun(client, view, interrupts, journal, source, target, fields, retry_failed)
        run.run(photos)
        failed = journal.failures()
    _tell(run)
    if run.done:
        say(f"The pictures are in {target}.")
    if interrupts.requested:
        raise typer.Exit(130)
    known = {name for name, _ in run.problems}
    for line in failed:
        if line.photo not in known:
            say(f"{line.photo}: failed before, {line.detail} (--retry-failed tries again)")
    if run.problems or failed:
        raise typer.Exit(1)


def watch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder where photos appear.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the pictures.")],
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", "-l", help="NAME or NAME:SCALE, several times; none; auto."),
    ] = None,
    strength: Annotated[float | None, typer.Option(help="0.05 to 1.")] = None,
    upscale: Annotated[str | None, typer.Option(help="auto, 1, 2, 3 or 4.")] = None,
    picture_format: Annotated[
        AskedFormat | None, typer.Option("--format", help="By default that of each photo.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option(help="Retry photos that failed before.")] = False,
) -> None:
    """Enhance every photo that appears in the folder IN, and write it to OUT, until Ctrl-C."""
    fields: JobFields = {"lora": lora, "strength": strength, "upscale": upscale}
    fields["format"] = picture_format
    photos_in(source, output)
    with (
        Interrupts() as interrupts,
        service(interrupts) as client,
        ProgressView(err) as view,
        Journal(output) as journal,
    ):
        arrivals = Arrivals(source, output)
        say(f"Watching {source}; Ctrl-C stops it.")
        while not interrupts.requested:
            run = FolderRun(client, view, interrupts, journal, source, output, fields, retry_failed)
            ready = list(arrivals.ready())
            if ready:
                run.run(iter(ready))
                _tell(run)
            time.sleep(LOOK_SECONDS)
    raise typer.Exit(130 if interrupts.requested else 0)


class Arrivals:
    """The complete files of a watched folder: their size and time have not changed between two
    scans.
    """

    def __init__(self, source: Path, output: Path) -> None:
        self._source = source
        self._output = output
        self._seen: dict[Path, tuple[int, int]] = {}
        self._told: dict[Path, tuple[int, int]] = {}

    def ready(self) -> Iterator[Path]:
        """Files that are complete and were not returned before."""
        seen: dict[Path, tuple[int, int]] = {}
        for photo in photos_in(self._source, self._output):
            try:
                facts = photo.stat()
            except OSError:
                continue  # gone again
            seen[photo] = facts.st_size, facts.st_mtime_ns
            is_whole = facts.st_size > 0 and self._seen.get(photo) == seen[photo]
            if is_whole and self._told.get(photo) != seen[photo]:
                self._told[photo] = seen[photo]
                yield photo
        self._seen = seen


def _tell(run: FolderRun) -> None:
    for name, problem in run.problems:
        complain(problem, about=name)
    say(f"{run.done} done, {run.skipped} done before, {len(run.problems)} failed")
