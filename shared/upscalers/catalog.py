"""The catalogue of enlargers: the files in the folder, judged once each, always up to date.

Owns the scan and the lookup by name. inspection.py judges one file; watching the folder, digests
and file keys are shared with the LoRAs' catalogue.
"""

import os
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from shared.errors import RetouchError, UpscalerNotFound, UpscalerUnusable
from shared.loras.digests import DigestCache
from shared.loras.entry import LoraState
from shared.loras.files import FileKey, is_regular, key_of
from shared.loras.folder import inner_target
from shared.loras.reasons import Finding, Reason, clean, unreadable
from shared.loras.sidecar import Sidecar, read_sidecar
from shared.loras.watcher import FolderWatcher
from shared.messages import Language
from shared.params import LORA_NAME
from shared.upscalers.architecture import Architecture, Compact, Folded, Rrdb
from shared.upscalers.entry import FILTER, UpscalerEntry, UpscalerKind
from shared.upscalers.inspection import Inspection, inspect_file

SUFFIXES = (".safetensors", ".pth")
RESERVED = frozenset({"auto", FILTER})
# A changed file is read once it has been unchanged for this long.
SETTLE_SECONDS = 0.3
# An incomplete file of this age counts as broken, not as half-written.
GRACE_SECONDS = 10.0
KINDS: dict[type[Architecture], UpscalerKind] = {
    Rrdb: UpscalerKind.RRDB,
    Compact: UpscalerKind.COMPACT,
    Folded: UpscalerKind.FOLDED,
}
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "unknown": "There is no enlarger named '{name}'. {way_out}",
        "held": "'{name}' cannot be used. {reason} {way_out}",
        "choose": "Choose one of: {names}.",
    },
    "zh": {
        "unknown": "没有名为“{name}”的放大模型。{way_out}",
        "held": "“{name}”用不了：{reason}{way_out}",
        "choose": "可以选择：{names}。",
    },
}

_log = structlog.get_logger(__name__)


class _Record(NamedTuple):
    """The state of one file between scans. While the file is half-written, the entry is that of the
    file that it replaces, or None.
    """

    seen: Inspection
    sidecar: Sidecar
    entry: UpscalerEntry | None
    is_half_written: bool = False


class UpscalerCatalog:
    """The enlargers in `folder`. Safe to use from any thread; reads never wait for a scan."""

    def __init__(self, folder: Path, *, digests: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._digests = DigestCache(digests)
        self._records: dict[str, _Record] = {}
        self._moving: dict[str, tuple[FileKey, float]] = {}
        self._entries: tuple[UpscalerEntry, ...] = ()
        self._watcher: FolderWatcher | None = None

    def scan(self) -> None:
        """Scans the folder now; only new and changed files are read."""
        self._refresh(settle_seconds=0.0)

    def entries(self) -> list[UpscalerEntry]:
        """Every enlarger in the folder, in any state, by name."""
        return list(self._entries)

    def resolve(self, name: str) -> UpscalerEntry:
        """The available enlarger with this name.

        Raises UpscalerNotFound or UpscalerUnusable with advice in the message.
        """
        entry = self._find(name)
        if entry is None or not entry.is_available:
            error: type[RetouchError] = UpscalerUnusable if entry else UpscalerNotFound
            raise error(self.explain(name))
        return entry

    def explain(self, name: str, language: Language = "en") -> str:
        """The message with which `resolve` refuses a name, in either language."""
        entry, words = self._find(name), _WORDS[language]
        names = ", ".join([e.name for e in self._entries if e.is_available] + [FILTER])
        facts = {"name": clean(name, 64), "way_out": words["choose"].format(names=names)}
        if entry is None:
            return words["unknown"].format_map(facts)
        reason = entry.reason_zh if language == "zh" else entry.reason
        return words["held"].format_map(facts | {"reason": reason or ""})

    def watch(self) -> None:
        """Watches the folder from a daemon thread until `close`."""
        if self._watcher is None:
            self._watcher = FolderWatcher(self._folder, lambda: self._refresh(SETTLE_SECONDS))
            self._watcher.start()

    def close(self) -> None:
        """Stops watching the folder."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def _find(self, name: str) -> UpscalerEntry | None:
        found = [entry for entry in self._entries if entry.name == name]
        return next((e for e in found if e.is_available), next(iter(found), None))

    def _refresh(self, settle_seconds: float) -> bool:
        """Brings the entries up to date; True if a file has to be checked again soon."""
        with self._lock:
            moving, self._moving = self._moving, {}
            keys = _listed(self._folder)
            ready = [
                name for name in keys if self._is_still(name, keys[name], moving, settle_seconds)
            ]
            records = {name: self._record(name, keys[name]) for name in ready}
            # The old entries of files that are being replaced stay until the new files are judged.
            unjudged = {n: self._records[n] for n in self._moving if n in self._records}
            self._publish(records | unjudged)
            self._digests.save()
            return bool(self._moving) or any(r.is_half_written for r in records.values())

    def _is_still(
        self,
        name: str,
        key: FileKey,
        moving: dict[str, tuple[FileKey, float]],
        settle_seconds: float,
    ) -> bool:
        """Whether a file is known, or has not changed for `settle_seconds` since first seen."""
        known = self._records.get(name)
        if known is not None and known.seen.key == key:
            return True
        now = time.monotonic()
        seen_key, since = moving.get(name, (key, now))
        since = since if seen_key == key else now
        if now - since >= settle_seconds:
            return True
        self._moving[name] = (key, since)
        return False

    def _record(self, name: str, key: FileKey) -> _Record:
        path = inner_target(self._folder / name, (os.path.realpath(self._folder),))
        stem = Path(name).stem
        old = self._records.get(name)
        seen = old.seen if old and old.seen.key == key else self._inspect(path, key)
        sidecar = read_sidecar(self._folder / f"{stem}.toml")
        if old and not old.is_half_written and (old.seen, old.sidecar) == (seen, sidecar):
            return old
        if seen.may_grow and abs(time.time() - key.mtime_ns / 1e9) < GRACE_SECONDS:
            return _Record(seen, sidecar, old.entry if old else None, is_half_written=True)
        return _Record(seen, sidecar, make_entry(path, stem, seen, sidecar))

    def _inspect(self, path: Path, key: FileKey) -> Inspection:
        try:
            return inspect_file(path, self._digests.read)
        except OSError as error:
            return Inspection(key, unreadable(error))

    def _publish(self, records: dict[str, _Record]) -> None:
        before = self._entries
        self._records = records
        self._entries = tuple(_without_doubles(r.entry for r in records.values() if r.entry))
        for entry in self._entries:
            if entry not in before:
                _log.info(
                    "upscaler_seen", name=entry.name, state=entry.state.value, reason=entry.reason
                )
        for name in {entry.name for entry in before} - {entry.name for entry in self._entries}:
            _log.info("upscaler_gone", name=name)


def make_entry(path: Path, stem: str, seen: Inspection, sidecar: Sidecar) -> UpscalerEntry:
    """The entry of one file."""
    finding, shown = seen.finding, clean(stem, 64)
    if not re.fullmatch(LORA_NAME, stem) or stem.lower() in RESERVED:
        finding = Finding(Reason.UNUSABLE_UPSCALER_NAME, {})
    architecture = None if finding else seen.architecture
    words = shown.replace("_", " ").replace("-", " ")
    return UpscalerEntry(
        name=shown,
        path=path,
        title=sidecar.title or {"en": words, "zh": words},
        kind=KINDS[type(architecture)] if architecture else UpscalerKind.UNKNOWN,
        factors=list(architecture.factors) if architecture else [],
        architecture=architecture,
        state=finding.state if finding else LoraState.AVAILABLE,
        reason_code=finding.reason.value if finding else None,
        reason=finding.en if finding else None,
        reason_zh=finding.zh if finding else None,
        licence=sidecar.licence,
        source=sidecar.source,
        size_bytes=seen.key.size,
        sha256=seen.sha256,
    )


def _without_doubles(entries: Iterable[UpscalerEntry]) -> list[UpscalerEntry]:
    """If several files share a name, the first usable one gets it: `.safetensors` before `.pth`."""
    kept: dict[str, UpscalerEntry] = {}
    doubles = []
    for entry in sorted(
        entries, key=lambda e: (e.name, not e.is_available, e.path.suffix != SUFFIXES[0])
    ):
        if entry.name not in kept:
            kept[entry.name] = entry
            continue
        finding = Finding(Reason.SAME_NAME, {})
        said = {"reason_code": finding.reason.value, "reason": finding.en, "reason_zh": finding.zh}
        doubles.append(entry.model_copy(update={"state": finding.state, **said}))
    return sorted([*kept.values(), *doubles], key=lambda e: e.name)


def _listed(folder: Path) -> dict[str, FileKey]:
    """The enlarger files of a folder by file name; a missing folder is empty."""
    try:
        with os.scandir(os.path.realpath(folder)) as scan:
            names = [e.name for e in scan if not e.name.startswith(".")]
    except OSError:
        return {}
    found = {}
    for name in sorted(names):
        if Path(name).suffix.lower() in SUFFIXES:
            key = _status(inner_target(folder / name, (os.path.realpath(folder),)))
            if key is not None:
                found[name] = key
    return found


def _status(path: Path) -> FileKey | None:
    """The key of a regular file or a link; None if it is gone or something else."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return key_of(status) if is_regular(status) or path.is_symlink() else None
