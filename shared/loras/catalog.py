"""The catalogue of LoRAs: what lies in the folder, judged once per file, always up to date.

Owns the scan, what is remembered between scans, and the thread that follows the folder. Judging
one file is inspection.py's part, finding by name index.py's.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from shared.errors import RetouchError
from shared.ledger.strikes import Suspension
from shared.loras.assembly import make_entry
from shared.loras.digests import DigestCache
from shared.loras.entry import LoraEntry
from shared.loras.files import FileKey
from shared.loras.folder import Candidate, Listing, list_folder
from shared.loras.index import Index
from shared.loras.inspection import Inspection, inspect_file
from shared.loras.reasons import unreadable
from shared.loras.release import read_releases
from shared.loras.sidecar import Sidecar, read_sidecar
from shared.loras.watcher import FolderWatcher
from shared.messages import Language

# A file that was seen to change is read once it has been still for this long.
SETTLE_SECONDS = 0.3
# A file that is not all there is taken for broken, not for half-written, at this age.
GRACE_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class _Record(NamedTuple):
    """What is remembered of one file. While it is half-written, the entry is that of the file that
    it replaces, or None.
    """

    seen: Inspection
    sidecar_key: FileKey | None
    sidecar: Sidecar
    note: str | None
    has_sample: bool
    suspension: Suspension | None
    entry: LoraEntry | None
    is_half_written: bool = False


class Catalog:
    """The LoRAs in `folder`, for a service that runs `base`. Safe to use from any thread.

    `digests` is a file in which to keep digests across restarts; `suspended`, asked at every look,
    tells which files (by sha256) are held back for what they have done. Before the first `scan`
    (or `watch`) the catalogue is empty. Reads never wait for a scan.
    """

    def __init__(
        self,
        folder: Path,
        base: str,
        *,
        digests: Path | None = None,
        suspended: Callable[[], Mapping[str, Suspension]] = dict,
    ) -> None:
        self._folder = folder
        self._base = base
        self._lock = threading.Lock()
        self._digests = DigestCache(digests)
        self._ask_suspended = suspended
        self._suspended: Mapping[str, Suspension] = {}
        self._records: dict[str, _Record] = {}
        self._moving: dict[str, tuple[FileKey, float]] = {}
        self._index = Index((), base)
        self._watcher: FolderWatcher | None = None

    def scan(self) -> None:
        """Look at the folder now; only new and changed files are read."""
        self._refresh(settle_seconds=0.0)

    def entries(self) -> list[LoraEntry]:
        """Every LoRA in the folder, of any state, by name."""
        return list(self._index.entries)

    def resolve(self, name: str) -> LoraEntry:
        """The available LoRA that is called `name`, in full or without its base tag.

        Raises LoraNotFound, LoraBaseMismatch or LoraQuarantined with a sentence that names the
        way out. Never touches the file system.
        """
        return self._index.resolve(name)

    def explain(self, name: str, language: Language = "en") -> str:
        """The sentence with which `resolve` refuses a name, in either language."""
        return self._index.explain(name, language)

    def watch(self) -> None:
        """Follow the folder from a daemon thread until `close`."""
        if self._watcher is None:
            self._watcher = FolderWatcher(self._folder, lambda: self._refresh(SETTLE_SECONDS))
            self._watcher.start()

    def close(self) -> None:
        """Stop following the folder."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _refresh(self, settle_seconds: float) -> bool:
        """Bring the index up to date; True when some file has to be looked at again soon."""
        with self._lock:
            listing = list_folder(self._folder)
            releases = read_releases(self._folder)
            self._suspended = self._still_suspended()
            moving, self._moving = self._moving, {}
            ready = [c for c in listing.candidates if self._is_still(c, moving, settle_seconds)]
            records = {c.stem: self._record(c, listing, releases) for c in ready}
            self._publish(records | self._unjudged())
            self._digests.save()
            return bool(self._moving) or any(r.is_half_written for r in records.values())

    def _unjudged(self) -> dict[str, _Record]:
        """What was known of files that are being replaced: it stays until the new one is judged."""
        return {stem: self._records[stem] for stem in self._moving if stem in self._records}

    def _still_suspended(self) -> Mapping[str, Suspension]:
        """The latest word; while nobody can be asked, the last one."""
        try:
            return self._ask_suspended()
        except RetouchError as error:
            _log.warning("suspended_loras_not_known", reason=str(error))
            return self._suspended

    def _is_still(
        self, candidate: Candidate, moving: dict[str, tuple[FileKey, float]], settle_seconds: float
    ) -> bool:
        """Whether a file is known, or has not changed for `settle_seconds` since first seen."""
        stem, key = candidate.stem, candidate.key
        known = self._records.get(stem)
        if known is not None and known.seen.key == key:
            return True
        now = time.monotonic()
        seen_key, since = moving.get(stem, (key, now))
        if seen_key != key:
            since = now
        if now - since >= settle_seconds:
            return True
        self._moving[stem] = (key, since)
        return False

    def _record(self, candidate: Candidate, listing: Listing, releases: dict[str, str]) -> _Record:
        old = self._records.get(candidate.stem)
        seen = old.seen if old and old.seen.key == candidate.key else self._inspect(candidate)
        sidecar = _sidecar_of(candidate, old)
        note = releases.get(seen.sha256)
        has_sample = sidecar.sample in listing.plain_files
        suspension = self._suspended.get(seen.sha256)
        fresh = (seen, candidate.sidecar, sidecar, note, has_sample, suspension)
        if old is not None and not old.is_half_written and old[:-2] == fresh:
            return old
        if _is_half_written(seen):
            return _Record(*fresh, entry=old.entry if old else None, is_half_written=True)
        shown = sidecar if has_sample else sidecar.model_copy(update={"sample": None})
        path, stem = candidate.path, candidate.stem
        entry = make_entry(path, stem, seen, shown, note, self._base, suspension)
        return _Record(*fresh, entry=entry)

    def _inspect(self, candidate: Candidate) -> Inspection:
        try:
            return inspect_file(candidate.path, candidate.stem, self._digests.read)
        except OSError as error:
            return Inspection(candidate.key, (unreadable(error),))

    def _publish(self, records: dict[str, _Record]) -> None:
        before = {entry.name: entry for entry in self._index.entries}
        self._records = records
        self._index = Index((r.entry for r in records.values() if r.entry), self._base)
        for entry in self._index.entries:
            if before.pop(entry.name, None) is not entry:
                _log.info(
                    "lora_seen", lora=entry.name, state=entry.state.value, reason=entry.reason
                )
        for name in before:
            _log.info("lora_gone", lora=name)


def _sidecar_of(candidate: Candidate, old: _Record | None) -> Sidecar:
    if old is not None and old.sidecar_key == candidate.sidecar:
        return old.sidecar
    if candidate.sidecar is None:
        return Sidecar()
    return read_sidecar(candidate.path.with_name(f"{candidate.stem}.toml"))


def _is_half_written(seen: Inspection) -> bool:
    age_seconds = time.time() - seen.key.mtime_ns / 1e9
    return seen.may_grow and abs(age_seconds) < GRACE_SECONDS
