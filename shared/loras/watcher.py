"""A daemon thread that calls back when a folder changes.

Owns the thread and the kernel's watch. The system's events are a hint: they get lost on network
shares and when a folder is replaced, so the callback also runs every few seconds. Knows nothing
of LoRAs.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
from watchfiles import watch

from shared.periodic import Periodic

_STEP_MS = 50
_DEBOUNCE_MS = 200
_IDLE_MS = 250
_SWEEP_SECONDS = 5.0
_MISSING_SECONDS = 0.25
_UNWATCHED_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class FolderWatcher:
    """Calls `refresh` when something in `folder` changes, and soon again while it returns True.

    Lives from `start` to `close`; the folder may be missing, appear and be replaced meanwhile.
    """

    def __init__(self, folder: Path, refresh: Callable[[], bool]) -> None:
        self._folder = folder
        self._refresh = refresh
        self._told = ""
        self._loop = Periodic("lora-watch", self._round, every=0.0)

    def start(self) -> None:
        """Begin to watch."""
        self._loop.start()

    def close(self) -> None:
        """Stop watching and wait for the thread's end."""
        self._loop.stop(timeout=None)

    def _round(self) -> float:
        try:
            self._follow()
        except OSError as error:
            # No inotify instance left, or the folder is gone: looking now and then will do.
            self._tell(str(error))
            self._refresh()
            gone = isinstance(error, FileNotFoundError)
            return _MISSING_SECONDS if gone else _UNWATCHED_SECONDS
        return 0.0

    def _tell(self, reason: str) -> None:
        """Say it once, not at every look."""
        if reason != self._told:
            _log.info("lora_folder_polled", folder=str(self._folder), reason=reason)
        self._told = reason

    def _follow(self) -> None:
        """Follow the folder that is there now, until the watcher stops or it is another."""
        inode = self._folder.stat().st_ino
        waiting, due = True, 0.0
        changes = watch(
            self._folder,
            watch_filter=None,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=_IDLE_MS,
            yield_on_timeout=True,
            stop_event=self._loop.stopping,
            raise_interrupt=False,
            recursive=False,
        )
        for batch in changes:
            self._told = ""
            if batch or waiting or time.monotonic() >= due:
                waiting = self._refresh()
                due = time.monotonic() + _SWEEP_SECONDS
            if self._folder.stat().st_ino != inode:
                return
