"""Ties a process's lifetime to its parent's, so that no process runs unsupervised.

A process calls `die_with`. A foreign command is started by this file as a script, which needs no
package and becomes the command:

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
    """Ends this process when process `parent` has ended, even by SIGKILL; at once if it is already
    gone.

    On Linux the kernel sends the signal (prctl(2), PR_SET_PDEATHSIG), also to the command that this
    process becomes; on other systems a thread checks every second, for as long as it lives.
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
