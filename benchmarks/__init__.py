"""What is measured, and beside what.

Threads wait at their barriers as the worker's do, for whatever it is compared with, too: said here
because it counts only before torch is loaded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
