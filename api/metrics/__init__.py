"""Figures for Prometheus.

`metrics.py` counts this gateway's requests and reads the queue when asked; `fleet_metrics.py` tells
what the ledger has counted of the whole fleet; `lora_metrics.py` reads the workers' heartbeats.
"""
