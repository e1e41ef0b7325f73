"""One stack per data folder: a lock that ends with the processes that hold it.

Owns the file `lock` in the folder. The embedded store inherits the open file, so that the folder
stays locked until the last writer of the old stack has ended, however that stack ended.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from retouch.stack.refusal import FolderRefused

# Time that the store of a killed stack needs to save and exit.
WAIT_SECONDS = 5.0


class FolderLock:
    """The lock of a data folder. `acquire` and `release` come in pairs."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file = -1

    def fileno(self) -> int:
        return self._file

    def acquire(self, wait_seconds: float = WAIT_SECONDS) -> None:
        """Takes the lock. Raises FolderRefused if the folder cannot be created, or is not free in
        time.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._wait(wait_seconds)
        except OSError as error:
            raise FolderRefused(
                f"{self._path.parent} cannot be used: {error.strerror or error}. "
                "Correct that, or choose another folder with --data-dir."
            ) from error
        os.truncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._try():
            if time.monotonic() > deadline:
                raise FolderRefused(self._explain())
            time.sleep(0.1)

    def release(self) -> None:
        if self._file < 0:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1

    def _try(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file between our open and our lock.
            if os.path.samestat(os.fstat(file), self._path.stat()):
                self._file = file
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(file)
        return False

    def _explain(self) -> str:
        holder = ""
        with suppress(OSError):
            holder = self._path.read_text().strip()
        who = f" (process {holder})" if holder else ""
        return (
            f"{self._path.parent} is in use by another `retouch up`{who}. "
            "Stop that one, or choose another folder with --data-dir."
        )
