"""Failed rounds of the background loops of this gateway and of each worker, for Prometheus.

Owns the metric's name. A process's figures start at zero and disappear with it.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from shared.ledger.fleet import WorkerInfo
from shared.periodic import loop_failures


class LoopFailures(Collector):
    """Exports this process's own figures, and those last reported by workers."""

    def __init__(self) -> None:
        self._workers: Sequence[WorkerInfo] = ()

    def read(self, workers: Sequence[WorkerInfo]) -> None:
        """Takes over the figures of these workers."""
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "retouch_loop_failures",
            "Failed rounds of a background loop; the loop continued.",
            labels=["process", "loop"],
        )
        own = {"gateway": loop_failures()}
        for process, failures in (own | {w.id: w.loop_failures for w in self._workers}).items():
            for loop, count in failures.items():
                family.add_metric([process, loop], count)
        yield family
