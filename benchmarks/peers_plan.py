"""The loads that benchmarks/peers.py applies to every system, the quantities that it compares, and
where it stores the results.
"""

from benchmarks.peer_venvs import ROOT

RETOUCH = "retouch"
BARE = "bare diffusers loop"
COMPILED = "bare loop, compiled"

# Number of pictures for each load: clients in this order, arrivals, and the largest number of
# clients last. BentoML derives how long it waits for a batch from its last fifty batches, so that
# after many clients a single picture waits for seconds.
CLIENTS = {1: 80, 16: 80, 4: 80, 64: 128}
CROWD = 64
RATES = {0.3: 80, 0.6: 80, 0.9: 80}
PAIRS = 24
RESULTS = ROOT / "var" / "benchmarks"
