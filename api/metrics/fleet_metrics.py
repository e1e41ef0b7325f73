"""Metrics of the whole fleet from the ledger's counters, for Prometheus.

Owns these metrics' names. Every gateway reports the same figures, whichever process caused them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from shared.jobs import JobState
from shared.ledger.store import MISS_BUCKETS, JobStore

# As in shared/ledger/lua/claim.lua.
JOB_BUCKETS = ("1", "2", "5", "10", "30", "60", "120", "300", "600", "+Inf")
RECOVERY_BUCKETS = ("1", "2", "5", "10", "15", "30", "60", "+Inf")

# As in worker/process/exits.py.
ENDS = (
    *("crashed", "hung", "device_lost", "weights_changed"),
    *("loop_ended", "not_started", "cannot_start"),
)

Counts = Mapping[str, float]
Buckets = Sequence[str]


class FleetCounts(Collector):
    """Exports the last values; `read` fetches them from the ledger (raises StoreUnavailable)."""

    def __init__(self) -> None:
        self._metrics: list[Metric] = []

    def read(self, store: JobStore, bases: Iterable[str]) -> None:
        counts = store.counts()
        self._metrics = [
            _gauge("retouch_jobs_running", "Running jobs.", store.running()),
            _gauge(
                "retouch_queue_oldest_seconds",
                "Age of the oldest waiting job.",
                max(map(store.oldest_seconds, bases)),
            ),
            _counter("retouch_jobs_submitted", "Jobs accepted.", counts, "submitted"),
            _finished(counts),
            _counter("retouch_attempts", "Claims of jobs by workers.", counts, "attempts"),
            _counter(
                "retouch_jobs_released",
                "Jobs that stopping workers returned to the queue.",
                counts,
                "released",
            ),
            _reaped(counts),
            _recovery(counts),
            _histogram(
                counts,
                "retouch_job_wait_seconds",
                "From a job's acceptance to its start.",
                ("waited", "priority", JOB_BUCKETS),
            ),
            _histogram(
                counts,
                "retouch_job_seconds",
                "From a job's acceptance to its result.",
                ("took", "priority", JOB_BUCKETS),
            ),
            _histogram(
                counts,
                "retouch_progress_error_points",
                "How wrong the percentage was when a quarter (25, 50, 75) of a job had passed.",
                ("missed", "quarter", (*map(str, MISS_BUCKETS), "+Inf")),
            ),
            *_store_bytes(store),
            _ended(counts),
            _counter(
                "retouch_workers_beside_gpu",
                "Workers that started on the CPU although an NVIDIA driver is present.",
                counts,
                "alarm:cpu_beside_gpu",
            ),
        ]

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _counter(name: str, text: str, counts: Counts, field: str) -> Metric:
    return CounterMetricFamily(name, text, counts.get(field, 0.0))


def _finished(counts: Counts) -> Metric:
    family = CounterMetricFamily("retouch_jobs_finished", "Jobs that ended.", labels=["state"])
    for state in JobState:
        if state.is_terminal:
            family.add_metric([state], counts.get(f"finished:{state}", 0.0))
    return family


def _reaped(counts: Counts) -> Metric:
    family = CounterMetricFamily(
        "retouch_leases_reaped", "Jobs taken back from workers.", labels=["cause"]
    )
    for cause in ("expired", "worker_died"):
        family.add_metric([cause], counts.get(f"reaped:{cause}", 0.0))
    return family


def _ended(counts: Counts) -> Metric:
    family = CounterMetricFamily(
        "retouch_worker_ends",
        "Worker processes that ended unexpectedly.",
        labels=["cause"],
    )
    for cause in ENDS:
        family.add_metric([cause], counts.get(f"ended:{cause}", 0.0))
    return family


def _histogram(counts: Counts, name: str, text: str, form: tuple[str, str, Buckets]) -> Metric:
    """A histogram by base and a second label, both of them ours; see `observe` in the prelude.

    `form`: the counters' first word, the second label, and the buckets.
    """
    what, label, buckets = form
    family = HistogramMetricFamily(name, text, labels=["base", label])
    for field in sorted(counts):
        if not (field.startswith(f"{what}:") and field.endswith(":sum")):
            continue
        start = field.removesuffix(":sum")
        base, _, value = start.removeprefix(f"{what}:").rpartition(":")
        filled = [(bucket, counts.get(f"{start}:{bucket}", 0.0)) for bucket in buckets]
        family.add_metric([base, value], filled, counts[field])
    return family


def _store_bytes(store: JobStore) -> list[Metric]:
    known = store.memory()
    if known is None:
        return []
    limit = "Memory that the store may use, in bytes; 0: no limit of its own."
    return [
        _gauge("retouch_store_bytes", "Memory that the store uses, in bytes.", known[0]),
        _gauge("retouch_store_limit_bytes", limit, known[1]),
    ]


def _recovery(counts: Counts) -> Metric:
    buckets = [(bucket, counts.get(f"recovered:{bucket}", 0.0)) for bucket in RECOVERY_BUCKETS]
    return HistogramMetricFamily(
        "retouch_recovery_seconds",
        "From a lost worker's last sign of life to the next claim of its job.",
        buckets=buckets,
        sum_value=counts.get("recovery_seconds", 0.0),
    )
