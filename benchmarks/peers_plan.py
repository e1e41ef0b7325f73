"""Which loads benchmarks/peers.py puts on every system, what it compares them with, and where what
it finds is kept.
"""

from benchmarks.peer_venvs import ROOT

RETOUCH = "retouch"
BARE = "bare diffusers loop"
COMPILED = "bare loop, compiled"

# Of each load so many pictures: clients in this order, arrivals, and the crowd at the very end.
# BentoML takes the waits of its last fifty batches for how long it should wait for company, so that
# after a crowd a lone picture waits for seconds.
CLIENTS = {1: 8, 16: 32, 4: 16, 64: 64}
CROWD = 64
RATES = {0.3: 10, 0.6: 10, 0.9: 12}
PAIRS = 24
RESULTS = ROOT / "var" / "benchmarks"
