"""Python's collector of reference cycles, while a process imports its libraries.

The libraries' objects, half a million in a worker, live as long as the process. Looking through
them again and again takes a fifth of a start, and a second of every whole collection afterwards.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """What is made inside lives as long as the process: the collector neither runs meanwhile nor
    looks at it ever after. For imports, not for work whose memory must come back.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
