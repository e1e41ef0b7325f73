"""Ties this process's lifetime to its parent's: no engine runs without its supervisor."""

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 1.0


def die_with(parent: int) -> None:
    """Ends this process at once when process `parent` has ended, even by SIGKILL.

    On Linux the kernel does this (prctl(2), PR_SET_PDEATHSIG); on other systems a thread checks
    every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)
