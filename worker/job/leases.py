"""Renews the leases of this process's claims, from its own thread.

Owns renewal. A refused renewal sets the job's stop flag, so that the engine stops at the next step.
A store that does not answer changes nothing, since only a newer claim can take a job away.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from shared.errors import RetouchError
from shared.jobs import Claim, StepSignal
from shared.ledger.store import JobStore
from shared.periodic import Periodic, note_failure
from worker.engine.interface import StopFlag

logger = structlog.get_logger(__name__)

# After a failed renewal: retry at once, since the next connection may work.
RETRY_SECONDS = 0.2


class LeasedStop(StopFlag):
    """A stop flag that knows since when its lease is confirmed: since the question, not since the
    answer, which may have been on its way while the lease ran out. `since` is when the claim began.

    A process that was frozen for longer than its lease may have lost the job without noticing. The
    first check after such a time therefore asks the ledger before another step is executed.
    """

    def __init__(
        self, ask: Callable[[], StepSignal], lease_seconds: float, since: float | None = None
    ) -> None:
        super().__init__()
        self._ask = ask
        self._lease_seconds = lease_seconds
        self._confirmed_at = time.monotonic() if since is None else since

    def confirm(self) -> None:
        """Asks the ledger and obeys; without an answer nothing is known, and the job continues."""
        asked_at = time.monotonic()
        try:
            obey(self._ask(), self)
        except BaseException:
            # Not before the next lease's time: every question may wait for seconds.
            self._confirmed_at = time.monotonic()
            raise
        self._confirmed_at = asked_at

    def check(self) -> None:
        if time.monotonic() - self._confirmed_at > self._lease_seconds:
            try:
                self.confirm()
            except RetouchError as error:
                logger.warning("lease not confirmed", reason=str(error))
        super().check()


class LeaseKeeper:
    """One thread that renews all current claims. `start` and `stop` come in pairs."""

    def __init__(self, store: JobStore, every_seconds: float, lease_seconds: float) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._claims: dict[str, LeasedStop] = {}
        self._reason: BaseException | None = None
        self._change = threading.Condition()
        self._loop = Periodic("leases", self._renew_all, every_seconds)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    @contextmanager
    def keeping(self, claim: Claim, since: float | None = None) -> Iterator[StopFlag]:
        """Renews this claim, which was asked for at `since`, inside the block; the flag says when
        the job must stop.
        """
        stop = LeasedStop(lambda: self._store.renew(claim), self._lease_seconds, since)
        with self._change:
            self._claims[claim.spec.id] = stop
            if self._reason is not None:
                stop.stop(self._reason)
        try:
            yield stop
        finally:
            with self._change:
                self._claims.pop(claim.spec.id, None)
                self._change.notify_all()

    def count(self) -> int:
        """Number of current claims."""
        return len(self._claims)

    def wait_for_change(self, seconds: float) -> None:
        """Waits until there is one claim fewer, or the time is over."""
        with self._change:
            self._change.wait(seconds)

    def abandon(self) -> None:
        """Stops renewing: this process is about to end."""
        self._loop.stopping.set()

    def stop_all(self, reason: BaseException) -> None:
        """Asks every current job to stop, and those whose claim is just being made."""
        with self._change:
            self._reason = reason
        for stop in self._held():
            stop.stop(reason)

    def _held(self) -> list[LeasedStop]:
        with self._change:
            return list(self._claims.values())

    def _renew_all(self) -> float | None:
        renewed = [self._renew(stop) for stop in self._held()]
        return None if all(renewed) else RETRY_SECONDS

    def _renew(self, stop: LeasedStop) -> bool:
        """An error with one lease does not prevent the renewal of others."""
        try:
            stop.confirm()
        except Exception as error:
            note_failure("leases", error)
            return False
        return True


def obey(signal: StepSignal, stop: StopFlag) -> None:
    """Passes the ledger's answer on to the engine."""
    if signal is StepSignal.CANCELED:
        stop.cancel()
    elif signal is StepSignal.LOST:
        stop.lose()
