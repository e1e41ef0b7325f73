"""Runs a command that ends when the process that started it ends, even by SIGKILL.

    python -I -S die_with_parent.py PARENT_PID SIGNAL COMMAND...

Runs as a separate script, without the project on its path, and becomes the command. On Linux the
kernel sends SIGNAL when the parent is gone (prctl(2), PR_SET_PDEATHSIG); other systems give no
guarantee.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, death_signal, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:
            sys.exit("the process that asked for this one is gone already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
