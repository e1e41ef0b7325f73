"""Ties a process's life to its parent's, so that nothing goes on that nobody supervises.

A process calls `die_with`. A command that is not ours is started by this file as a script, which
needs no package and becomes the command:

    python -I -S die_with_parent.py PARENT_PID SIGNAL COMMAND...
"""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 1.0


def die_with(parent: int, death_signal: int = signal.SIGKILL) -> None:
    """End when process `parent` has ended, even by SIGKILL; at once where it is gone already.

    On Linux the kernel sends the signal (prctl(2), PR_SET_PDEATHSIG), also to the command that
    this process becomes; elsewhere a thread looks every second, for as long as it lives.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    die_with(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
