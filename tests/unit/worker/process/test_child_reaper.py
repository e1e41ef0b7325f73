"""What a dead engine process leaves in the counters."""

import signal

import pytest
import redis

from shared.ledger.store import JobStore
from shared.settings import Settings
from worker.process import exits
from worker.process.child_reaper import ChildReaper


@pytest.mark.parametrize(
    ("status", "blame", "counted"),
    [
        (-signal.SIGTERM, False, {}),
        (0, False, {}),
        (-signal.SIGTERM, True, {"ended:crashed": 1}),
        (-signal.SIGSEGV, False, {"ended:crashed": 1}),
        (exits.HUNG, True, {"ended:hung": 1}),
    ],
    ids=["told-while-starting", "told", "killed-by-others", "crashed-at-the-end", "hung"],
)
def test_a_worker_that_is_told_to_end_while_it_starts_has_not_crashed(
    redis_client: redis.Redis,
    settings: Settings,
    store: JobStore,
    status: int,
    blame: bool,
    counted: dict[str, int],
) -> None:
    ChildReaper(redis_client, settings).reap("worker-1", status, blame)

    found = {name: count for name, count in store.counts().items() if name.startswith("ended:")}
    assert found == counted
