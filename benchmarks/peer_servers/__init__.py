"""The same pictures served by other servers, each in its own environment (benchmarks/peers.py)."""
