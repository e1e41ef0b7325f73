"""Messages to and from a child process, until a deadline.

A thread that waited for a child without one would be lost with a child that hangs, and a thread
that watches the time costs as much as a small picture's decoding.
"""

import fcntl
import os
import select
import time
from contextlib import suppress
from typing import IO

# Pictures of a megapixel pass in a few pieces, where a pipe's usual 64 KiB wake both ends for each.
PIPE_BYTES = 2**20


def prepare(pipe: IO[bytes]) -> None:
    """For the functions below: this end never waits by itself, and there is room for a picture."""
    os.set_blocking(pipe.fileno(), False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with suppress(OSError):  # this user has too many large pipes: a small one will do
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def write_all(pipe: IO[bytes], data: bytes, deadline: float) -> None:
    """Raises OSError if the child is gone, TimeoutError at `deadline` (of `time.monotonic`)."""
    rest = memoryview(data)
    while rest:
        _check(deadline)
        try:
            rest = rest[os.write(pipe.fileno(), rest) :]
        except BlockingIOError:
            _wait(pipe, select.POLLOUT, deadline)


def read_exactly(pipe: IO[bytes], count: int, deadline: float) -> bytes:
    """Raises EOFError if the child ends before, OSError and TimeoutError as `write_all`."""
    pieces, missing = list[bytes](), count
    while missing:
        _check(deadline)
        try:
            piece = os.read(pipe.fileno(), min(missing, PIPE_BYTES))
        except BlockingIOError:
            _wait(pipe, select.POLLIN, deadline)
            continue
        if not piece:
            raise EOFError("the child has ended")
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _wait(pipe: IO[bytes], event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)


def _check(deadline: float) -> None:
    # Before every piece: a child may also go on for ever.
    if time.monotonic() >= deadline:
        raise TimeoutError("the child does not answer")
