"""The catalogue of LoRAs: the files in the folder, judged once each, always up to date.

Owns the scan, what is remembered between scans, and the thread that watches the folder.
inspection.py judges one file; index.py finds entries by name.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from shared.errors import RetouchError
from shared.ledger.strikes import Suspension
from shared.loras.assembly import make_entry
from shared.loras.check import foreign_file
from shared.loras.digests import DigestCache
from shared.loras.entry import LoraEntry
from shared.loras.files import FileKey, is_same
from shared.loras.folder import NOTES, Candidate, Note, list_folders, own_picture
from shared.loras.index import Index
from shared.loras.inspection import Bases, Inspection, inspect_file
from shared.loras.modules import Modules
from shared.loras.neighbours import read_adapter_config, read_neighbours
from shared.loras.reasons import unreadable
from shared.loras.release import read_releases
from shared.loras.sidecar import Sidecar, completed, read_sidecar
from shared.loras.watcher import FolderWatcher
from shared.messages import Language

# A changed file is read once it has been unchanged for this long.
SETTLE_SECONDS = 0.3
# An incomplete file of this age counts as broken, not as half-written.
GRACE_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class _Record(NamedTuple):
    """The state of one file between scans. While the file is half-written, the entry is that of the
    file that it replaces, or None.
    """

    seen: Inspection
    notes: tuple[Note, ...]
    sidecar: Sidecar
    adapter_config: str
    note: str | None
    sample: str | None
    suspension: Suspension | None
    bases: tuple[str, ...]
    entry: LoraEntry | None
    is_half_written: bool = False


class Catalog:
    """The LoRAs in `folders`, for a service with bases of these families. Safe to use from any
    thread.

    `modules` are those of the families' networks, in which every layer is looked up. `digests` is a
    file for keeping digests across restarts. `suspended` is called at every scan and returns the
    files (by sha256) that are suspended for strikes. Before the first `scan` (or `watch`) the
    catalogue is empty. Reads never wait for a scan.
    """

    def __init__(
        self,
        folders: Path | Sequence[Path],
        bases: str | Sequence[str],
        *,
        modules: Modules | Bases | None = None,
        digests: Path | None = None,
        suspended: Callable[[], Mapping[str, Suspension]] = dict,
    ) -> None:
        self._folders = (folders,) if isinstance(folders, Path) else tuple(folders)
        self._bases = (bases,) if isinstance(bases, str) else tuple(bases)
        self._modules = {self._bases[0]: modules} if isinstance(modules, Modules) else modules or {}
        self._lock = threading.Lock()
        self._digests = DigestCache(digests)
        self._ask_suspended = suspended
        self._suspended: Mapping[str, Suspension] = {}
        self._records: dict[str, _Record] = {}
        self._moving: dict[str, tuple[FileKey, float]] = {}
        self._index = Index((), self._bases)
        self._watcher: FolderWatcher | None = None

    def scan(self) -> None:
        """Scans the folder now; only new and changed files are read."""
        self._refresh(settle_seconds=0.0)

    def entries(self) -> list[LoraEntry]:
        """Every LoRA in the folder, in any state, by name."""
        return list(self._index.entries)

    def serve(self, bases: Sequence[str]) -> None:
        """Judges all LoRAs anew if other families are served now."""
        if tuple(bases) != self._bases:
            self._bases = tuple(bases)
            self._refresh(SETTLE_SECONDS)

    def resolve(self, name: str, base: str | None = None) -> LoraEntry:
        """The available LoRA called `name`, in full or without its base tag, of this family if one
        is given.

        Raises LoraNotFound, LoraBaseMismatch or LoraQuarantined with advice in the message. Never
        touches the file system.
        """
        return self._index.resolve(name, base)

    def find(self, name: str, base: str | None = None) -> LoraEntry | None:
        """The LoRA, in any state, that `name` means, of this family first if one is given."""
        return self._index.find(name, base)

    def explain(self, name: str, language: Language = "en", base: str | None = None) -> str:
        """The message with which `resolve` refuses a name, in either language."""
        return self._index.explain(name, language, base)

    def watch(self) -> None:
        """Watches the folder from a daemon thread until `close`."""
        if self._watcher is None:
            self._watcher = FolderWatcher(self._folders, lambda: self._refresh(SETTLE_SECONDS))
            self._watcher.start()

    def close(self) -> None:
        """Stops watching the folder."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def _refresh(self, settle_seconds: float) -> bool:
        """Brings the index up to date; True if a file has to be checked again soon."""
        with self._lock:
            listing = list_folders(self._folders)
            releases = self._releases()
            self._suspended = self._still_suspended()
            moving, self._moving = self._moving, {}
            records = {}
            for candidate in listing:
                record = self._settled(candidate, releases, moving, settle_seconds)
                if record is not None:
                    records[candidate.place] = record
            self._publish(records)
            self._digests.save()
            return bool(self._moving) or any(r.is_half_written for r in records.values())

    def _settled(
        self,
        candidate: Candidate,
        releases: dict[str, str],
        moving: dict[str, tuple[FileKey, float]],
        settle_seconds: float,
    ) -> _Record | None:
        """The known state of a file; while it is changing, that of the file that it replaces."""
        if self._is_still(candidate, moving, settle_seconds):
            return self._record(candidate, releases)
        return self._records.get(candidate.place)

    def _releases(self) -> dict[str, str]:
        found = [read_releases(folder) for folder in self._folders]
        return {sha256: note for releases in reversed(found) for sha256, note in releases.items()}

    def _still_suspended(self) -> Mapping[str, Suspension]:
        """The suspended files; while the store is unreachable, the last known ones."""
        try:
            return self._ask_suspended()
        except RetouchError as error:
            _log.warning("suspended_loras_not_known", reason=str(error))
            return self._suspended

    def _is_still(
        self, candidate: Candidate, moving: dict[str, tuple[FileKey, float]], settle_seconds: float
    ) -> bool:
        """Whether a file is known, or has not changed for `settle_seconds` since first seen."""
        place, key = candidate.place, candidate.key
        known = self._records.get(place)
        if known is not None and is_same(known.seen.key, key):
            return True
        now = time.monotonic()
        seen_key, since = moving.get(place, (key, now))
        if not is_same(seen_key, key):
            since = now
        if now - since >= settle_seconds:
            return True
        self._moving[place] = (key, since)
        return False

    def _record(self, candidate: Candidate, releases: dict[str, str]) -> _Record:
        old = self._records.get(candidate.place)
        is_known = old is not None and is_same(old.seen.key, candidate.key)
        seen = old.seen if old and is_known else self._inspect(candidate)
        sidecar, config = _said_beside(candidate, seen, old if is_known else None)
        sample = _sample_of(candidate, sidecar)
        suspension = self._suspended.get(seen.sha256)
        note = releases.get(seen.sha256)
        fresh = (
            *(seen, candidate.notes, sidecar, config, note, sample, suspension),
            self._bases,
        )
        if old is not None and not old.is_half_written and old[: len(fresh)] == fresh:
            return old
        if _is_half_written(seen):
            return _Record(*fresh, entry=old.entry if old else None, is_half_written=True)
        path = candidate.folder / sample if sample else None
        shown = sidecar.model_copy(update={"sample": sample, "sample_path": path})
        entry = make_entry(
            candidate.path, candidate.name, seen, shown, note, self._bases, suspension, config
        )
        return _Record(*fresh, entry=entry)

    def _inspect(self, candidate: Candidate) -> Inspection:
        if candidate.is_foreign:
            return foreign_file(candidate.path, candidate.key)
        try:
            return inspect_file(candidate.path, candidate.stem, self._digests.read, self._modules)
        except OSError as error:
            return Inspection(candidate.key, (unreadable(error),))

    def _publish(self, records: dict[str, _Record]) -> None:
        before = {entry.path: entry for entry in self._index.entries}
        self._records = records
        self._index = Index((r.entry for r in records.values() if r.entry), self._bases)
        for entry in self._index.entries:
            if before.pop(entry.path, None) is not entry:
                _log.info(
                    "lora_seen", lora=entry.name, state=entry.state.value, reason=entry.reason
                )
        for gone in before.values():
            _log.info("lora_gone", lora=gone.name)


def _said_beside(
    candidate: Candidate, seen: Inspection, old: _Record | None
) -> tuple[Sidecar, str]:
    """The sidecar, completed from other programs' files, and PEFT's configuration."""
    if old is not None and old.notes == candidate.notes:
        return old.sidecar, old.adapter_config
    own = next((note.path for note in candidate.notes if note.kind == NOTES[0]), None)
    sidecar = read_sidecar(own) if own else Sidecar()
    neighbour = read_neighbours(candidate.notes, dict(seen.metadata))
    return completed(sidecar, neighbour), read_adapter_config(candidate.notes)


def _sample_of(candidate: Candidate, sidecar: Sidecar) -> str | None:
    """The picture named in the sidecar, or the one that other programs would show."""
    if sidecar.sample is not None:
        return sidecar.sample if sidecar.sample in candidate.pictures else None
    return own_picture(candidate.stem, candidate.pictures)


def _is_half_written(seen: Inspection) -> bool:
    age_seconds = time.time() - seen.key.mtime_ns / 1e9
    return seen.may_grow and abs(age_seconds) < GRACE_SECONDS
