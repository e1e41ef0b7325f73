"""Metrics for Prometheus: requests by route, and the state of queue and fleet at each scrape.

Owns the metrics' names. Labels are route templates and codes, never a caller's text.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api.metrics.fleet_metrics import FleetCounts
from api.metrics.loop_metrics import LoopFailures
from api.metrics.lora_metrics import WorkerLoras
from shared.errors import StoreUnavailable
from shared.ledger.fleet import Fleet
from shared.ledger.store import JobStore

# A caller may invent methods; each label would stay in memory forever.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The metrics of one gateway process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route")
        self._requests = Counter(
            "retouch_http_requests",
            "Requests answered.",
            (*labels, "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "retouch_http_request_seconds",
            "Time until an answer's headers were sent.",
            labels,
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._queued = Gauge(
            "retouch_queue_size", "Jobs waiting.", ("base",), registry=self._registry
        )
        self._unfinished = Gauge(
            "retouch_unfinished_jobs",
            "Jobs waiting or running, by which autoscalers decide.",
            ("base",),
            registry=self._registry,
        )
        self._workers = Gauge(
            "retouch_workers",
            "Workers with a recent heartbeat.",
            ("base",),
            registry=self._registry,
        )
        self._unserved = Gauge(
            "retouch_jobs_unserved",
            "Jobs that wait for a base without a worker.",
            ("base",),
            registry=self._registry,
        )
        # Bases keep their figures, at zero, once they have had any.
        self._seen: set[str] = set()
        self._store_up = Gauge(
            "retouch_store_up", "Whether the store answers.", registry=self._registry
        )

        self._fleet = FleetCounts()
        self._registry.register(self._fleet)
        self._loras = WorkerLoras()
        self._registry.register(self._loras)
        self._loops = LoopFailures()
        self._registry.register(self._loops)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self, store: JobStore, fleet: Fleet, base: str) -> bytes:
        """Everything in Prometheus' text format, with fresh figures from the store."""
        try:
            workers = fleet.workers()
            bases = [worker.base for worker in workers]
            every = {base, *bases, *store.queues()} | self._seen
            self._seen = every
            for name in every:
                queued, count = store.queue_size(name), bases.count(name)
                self._queued.labels(name).set(queued)
                self._workers.labels(name).set(count)
                self._unfinished.labels(name).set(queued + store.running_of(name))
                self._unserved.labels(name).set(0 if count else queued)
            self._loras.read(workers)
            self._loops.read(workers)
            self._fleet.read(store, every)
            self._store_up.set(1)
        except StoreUnavailable:
            self._store_up.set(0)
        return generate_latest(self._registry)
