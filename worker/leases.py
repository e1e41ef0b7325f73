"""Keeps the leases of this process's claims alive, from a thread of its own.

Owns renewal. A refused renewal raises the job's stop flag, so that the engine stops at the next
step; a store that does not answer changes nothing, since only a newer claim takes a job away.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from shared.errors import RetouchError
from shared.jobs import Claim, StepSignal
from shared.store import JobStore
from worker.engine.interface import StopFlag

logger = structlog.get_logger(__name__)


class LeaseKeeper:
    """One thread that renews every claim in hand. `start` and `stop` come in pairs."""

    def __init__(self, store: JobStore, every_seconds: float) -> None:
        self._store = store
        self._every = every_seconds
        self._claims: dict[str, tuple[Claim, StopFlag]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    @contextmanager
    def keeping(self, claim: Claim, stop: StopFlag) -> Iterator[None]:
        """Renew this claim for as long as the block runs."""
        with self._lock:
            self._claims[claim.spec.id] = (claim, stop)
        try:
            yield
        finally:
            with self._lock:
                self._claims.pop(claim.spec.id, None)

    def count(self) -> int:
        """Claims in hand."""
        return len(self._claims)

    def stop_all(self, reason: BaseException) -> None:
        """Ask every job in hand to stop."""
        with self._lock:
            held = list(self._claims.values())
        for _, stop in held:
            stop.stop(reason)

    def _loop(self) -> None:
        while not self._stopping.wait(self._every):
            with self._lock:
                held = list(self._claims.values())
            for claim, stop in held:
                self._renew(claim, stop)

    def _renew(self, claim: Claim, stop: StopFlag) -> None:
        try:
            obey(self._store.renew(claim), stop)
        except RetouchError as error:
            logger.warning("renewal failed", job=claim.spec.id, reason=str(error))


def obey(signal: StepSignal, stop: StopFlag) -> None:
    """Pass the ledger's answer on to the engine."""
    if signal is StepSignal.CANCELED:
        stop.cancel()
    elif signal is StepSignal.LOST:
        stop.lose()
