"""Metrics for Prometheus.

`metrics.py` counts this gateway's requests and reads the queue at each scrape; `fleet_metrics.py`
shows what the ledger has counted for the whole fleet; `lora_metrics.py` reads the workers'
heartbeats.
"""
