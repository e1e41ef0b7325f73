"""Benchmarks: what is measured, and what it is compared with.

Threads wait passively at their barriers, as the worker's do, in every system that is compared. This
is set here because it takes effect only before torch is loaded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
