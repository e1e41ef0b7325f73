"""LoRAs in each worker's memory and on its device, from its last heartbeat, for Prometheus.

Owns these metrics' names. A worker's figures start at zero and disappear with it.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.ledger.fleet import WorkerInfo

# Keyed by the field of a worker's residency (worker/engine/step/step_engine.py).
COUNTERS = {
    "hits": ("retouch_lora_hits", "LoRAs that a job found in memory."),
    "misses": ("retouch_lora_misses", "LoRAs that were read from disk."),
    "evictions": ("retouch_lora_evictions", "LoRAs evicted from memory."),
    "load_seconds": ("retouch_lora_load_seconds", "Time spent on reading LoRAs from disk."),
    "switches": ("retouch_lora_switches", "LoRAs put on the device."),
    "switch_seconds": ("retouch_lora_switch_seconds", "Time spent on putting LoRAs on the device."),
    "device_evictions": ("retouch_lora_device_evictions", "LoRAs evicted from the device."),
    "weight_checks": (
        "retouch_weight_checks",
        "Complete checks of the base's weights without a change.",
    ),
}
GAUGES = {
    "ram_bytes": ("retouch_lora_ram_bytes", "Bytes of LoRAs in memory."),
    "device_bytes": ("retouch_lora_device_bytes", "Bytes of LoRAs on the device."),
}


class WorkerLoras(Collector):
    """Exports the last values."""

    def __init__(self) -> None:
        self._workers: Sequence[WorkerInfo] = ()

    def read(self, workers: Sequence[WorkerInfo]) -> None:
        """Takes over the figures of these workers."""
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        for field, (name, text) in COUNTERS.items():
            yield self._filled(CounterMetricFamily(name, text, labels=["worker"]), field)
        for field, (name, text) in GAUGES.items():
            yield self._filled(GaugeMetricFamily(name, text, labels=["worker"]), field)

    def _filled(
        self, family: CounterMetricFamily | GaugeMetricFamily, field: str
    ) -> CounterMetricFamily | GaugeMetricFamily:
        for worker in self._workers:
            value = worker.residency.get(field)
            if isinstance(value, int | float):
                family.add_metric([worker.id], value)
        return family
