"""The same pictures served by other servers, each in a separate environment
(benchmarks/peers.py).
"""
