"""Which loads benchmarks/peers.py puts on every system, what it compares them with, and where what
it finds is kept.
"""

from benchmarks.peer_venvs import ROOT

RETOUCH = "retouch"
BARE = "bare diffusers loop"
COMPILED = "bare loop, compiled"

# Of each load so many pictures, in this order.
CLIENTS = {1: 8, 16: 32, 4: 16, 64: 64}
RATES = {0.3: 10, 0.6: 10, 0.9: 12}
PAIRS = 24
RESULTS = ROOT / "var" / "benchmarks"
