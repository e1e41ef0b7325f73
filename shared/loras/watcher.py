"""A daemon thread that calls back when folders change.

Owns the thread and the kernel's watch. The system's events are only a hint: they are lost when a
folder is replaced, and network shares and mounts of virtual machines send none for changes made
elsewhere. So the callback also runs every few seconds, more often on such file systems. Knows
nothing of LoRAs.
"""

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import structlog
from watchfiles import Change, watch

from shared.periodic import Periodic

_STEP_MS = 50
_DEBOUNCE_MS = 200
_IDLE_MS = 250
_SWEEP_SECONDS = 5.0
# Interval without events; scanning never takes more than a twentieth of the time.
_POLL_SECONDS = 1.0
_SHARE = 20
_LONGEST_SECONDS = 60.0
# File systems that only this kernel changes.
_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs", "apfs", "ramfs"}
)
_MISSING_SECONDS = 0.25
_UNWATCHED_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class FolderWatcher:
    """Calls `refresh` when something in `folders` changes, and soon again while it returns True.

    Runs from `start` to `close`; folders may be missing, appear and be replaced meanwhile.
    """

    def __init__(self, folders: Path | Sequence[Path], refresh: Callable[[], bool]) -> None:
        self._folders = (folders,) if isinstance(folders, Path) else tuple(folders)
        self._refresh = refresh
        self._told = ""
        self._loop = Periodic("lora-watch", self._round, every=0.0)

    def start(self) -> None:
        """Starts watching."""
        self._loop.start()

    def close(self) -> None:
        """Stops watching and waits for the thread to end."""
        self._loop.stop(timeout=None)

    def _round(self) -> float:
        try:
            self._follow()
        except OSError as error:
            # No inotify instance is left, or the folder is gone: polling is sufficient.
            self._tell(str(error))
            self._refresh()
            gone = isinstance(error, FileNotFoundError)
            return _MISSING_SECONDS if gone else _UNWATCHED_SECONDS
        return 0.0

    def _tell(self, reason: str) -> None:
        """Logs it once, not at every scan."""
        if reason != self._told:
            _log.info(
                "lora_folder_polled",
                folders=[str(folder) for folder in self._folders],
                reason=reason,
            )
        self._told = reason

    def _follow(self) -> None:
        """Watches the current folders until the watcher stops or the folders are replaced."""
        there = _inodes(self._folders)
        if not there:
            raise FileNotFoundError("no LoRA folder")
        waiting, due = True, 0.0
        sweep = _SWEEP_SECONDS if all(map(_sends_events, there)) else _POLL_SECONDS
        changes = watch(
            *there,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=_IDLE_MS,
            yield_on_timeout=True,
            stop_event=self._loop.stopping,
            raise_interrupt=False,
            recursive=True,
        )
        for batch in changes:
            self._told = ""
            begun = time.monotonic()
            if batch or waiting or begun >= due:
                waiting = self._refresh()
                ended = time.monotonic()
                due = ended + max(sweep, min(_SHARE * (ended - begun), _LONGEST_SECONDS))
            if _are_removed(batch, there) or _inodes(self._folders) != there:
                return


def _inodes(folders: Sequence[Path]) -> dict[Path, int]:
    """The existing folders with their inodes."""
    found = {}
    for folder in folders:
        with suppress(OSError):
            found[folder] = folder.stat().st_ino
    return found


def _are_removed(batch: Collection[tuple[Change, str]], folders: Collection[Path]) -> bool:
    """Whether a watched folder itself was removed: the one in its place may have its inode."""
    removed = {path for change, path in batch if change is Change.deleted}
    return any(str(folder) in removed for folder in folders)


def _sends_events(folder: Path) -> bool:
    """Whether the file system of a folder reports every change; without a list, it may not."""
    place = os.path.realpath(folder)
    mounts = [m for m in psutil.disk_partitions(all=True) if _is_inside(place, m.mountpoint)]
    nearest = max(mounts, key=lambda mount: len(mount.mountpoint), default=None)
    return nearest is None or nearest.fstype.lower() in _LOCAL


def _is_inside(place: str, mountpoint: str) -> bool:
    return Path(place).is_relative_to(mountpoint)
