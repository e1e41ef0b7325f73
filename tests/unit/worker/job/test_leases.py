"""The lease keeper: renewal, its answers, and a process that was away for too long."""

import threading
import time

import pytest

from shared.errors import JobCanceled, LeaseLost, StoreUnavailable
from shared.jobs import Claim, StepSignal
from tests.support.jobs import make_spec
from tests.support.wait import wait_until
from worker.job.leases import LeasedStop, LeaseKeeper


class Ledger:
    """Answers renewals as the test wants."""

    def __init__(self) -> None:
        self.answer = StepSignal.GO_ON
        self.is_away = False
        self.asked = 0

    def renew(self, _claim: Claim) -> StepSignal:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return self.answer


def make_claim() -> Claim:
    return Claim(spec=make_spec(), worker="w", epoch=1, attempt=1, percent=0.0, queued_seconds=0.0)


def make_keeper(ledger: Ledger) -> LeaseKeeper:
    return LeaseKeeper(ledger, 0.02, 10.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "reason"), [(StepSignal.CANCELED, JobCanceled), (StepSignal.LOST, LeaseLost)]
)
def test_a_refused_renewal_stops_the_job(answer: StepSignal, reason: type[BaseException]) -> None:
    ledger = Ledger()
    keeper = make_keeper(ledger)
    keeper.start()
    with keeper.keeping(make_claim()) as stop:
        wait_until(lambda: ledger.asked, description="a renewal")
        stop.check()
        ledger.answer = answer
        asked = ledger.asked
        wait_until(lambda: ledger.asked > asked + 1, description="the refusal")
        with pytest.raises(reason):
            stop.check()
    keeper.stop()
    assert keeper.count() == 0


def test_a_claim_that_comes_in_after_all_were_told_to_stop_is_told_too() -> None:
    keeper = make_keeper(Ledger())
    keeper.stop_all(LeaseLost())
    with keeper.keeping(make_claim()) as stop, pytest.raises(LeaseLost):
        stop.check()


def test_a_store_that_is_away_stops_nothing_and_is_asked_again_soon() -> None:
    ledger = Ledger()
    ledger.is_away = True
    keeper = make_keeper(ledger)
    keeper.start()
    with keeper.keeping(make_claim()) as stop:
        wait_until(lambda: ledger.asked >= 3, description="three renewals")
        stop.check()
    keeper.stop()


def test_after_a_freeze_longer_than_the_lease_the_ledger_is_asked_before_the_next_step() -> None:
    answers = [StepSignal.GO_ON, StepSignal.LOST]
    stop = LeasedStop(lambda: answers.pop(0), lease_seconds=0.05)
    stop.check()
    assert len(answers) == 2
    time.sleep(0.1)
    stop.check()
    time.sleep(0.1)
    with pytest.raises(LeaseLost):
        stop.check()


def test_an_answer_that_was_read_after_a_freeze_confirms_nothing() -> None:
    # Given a renewal whose answer came before the freeze, and is read after it
    answers = [StepSignal.GO_ON, StepSignal.LOST]

    def renew() -> StepSignal:
        time.sleep(0.1)
        return answers.pop(0)

    stop = LeasedStop(renew, lease_seconds=0.05)
    stop.confirm()
    # Then the next step asks
    with pytest.raises(LeaseLost):
        stop.check()


def test_a_claim_whose_answer_was_late_is_confirmed_before_the_first_step() -> None:
    ledger = Ledger()
    ledger.answer = StepSignal.LOST
    keeper = make_keeper(ledger)
    with (
        keeper.keeping(make_claim(), time.monotonic() - 11.0) as stop,
        pytest.raises(LeaseLost),
    ):
        stop.check()


def test_while_the_store_is_away_a_step_asks_once_a_lease() -> None:
    asked: list[int] = []

    def renew() -> StepSignal:
        asked.append(1)
        time.sleep(0.2)  # longer than the lease
        raise StoreUnavailable("away")

    stop = LeasedStop(renew, lease_seconds=0.1)
    time.sleep(0.15)
    for _ in range(5):
        stop.check()
    assert len(asked) == 1


def test_who_waits_for_empty_hands_is_told_when_a_claim_ends() -> None:
    keeper = make_keeper(Ledger())
    waited = threading.Event()

    def wait() -> None:
        keeper.wait_for_change(30)
        waited.set()

    with keeper.keeping(make_claim()):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.1)
        assert not waited.is_set()
    assert waited.wait(5)
    waiting.join()
