"""Returns the memory that a large picture has freed to the system.

glibc keeps it, separately for every thread that allocated, and 200 MiB wait in cycles for Python's
collector: without this, a worker's memory grew by 300 MiB with each photo of 12 megapixels.
"""

import ctypes
import gc
from collections.abc import Callable
from functools import cache

from shared.jobs import JobSpec

# Below this, giving back costs more than it brings: the next job takes the memory again.
LARGE_PIXELS = 2_000_000


def give_back_after(spec: JobSpec) -> None:
    """Call this once nothing of the job is referred to."""
    if spec.source.width * spec.source.height * spec.params.factor**2 >= LARGE_PIXELS:
        give_back()


def give_back() -> None:
    """Takes tenths of a second. Where the C library is another one, only cycles are freed."""
    gc.collect()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return trim
