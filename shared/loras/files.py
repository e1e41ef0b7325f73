"""Opens a file safely, and tells whether it is still the same one.

Knows nothing of the files' contents.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

_BUFFER_BYTES = 256 * 1024


class FileKey(NamedTuple):
    """Identifies the version of a file that was read. `ctime_ns` cannot be set back."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def is_same(one: FileKey, other: FileKey) -> bool:
    """Whether two stats of a path are of one file. Network shares change device and inode
    numbers.
    """
    return one[2:] == other[2:]


def key_of(status: os.stat_result) -> FileKey:
    """The key from a file's status."""
    return FileKey(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )


def is_regular(status: os.stat_result) -> bool:
    """Whether a status is that of a plain file, not a link, pipe, device or folder."""
    return stat.S_ISREG(status.st_mode)


def open_file(path: Path) -> BinaryIO:
    """Opens a file for reading; a link is refused (OSError) and a pipe does not block."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags), "rb", buffering=_BUFFER_BYTES)
