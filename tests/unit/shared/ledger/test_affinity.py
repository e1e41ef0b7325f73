"""Workers draw the jobs whose LoRAs they have loaded, within a bounded time."""

import time

import pytest
import redis

from shared.jobs import Claim
from shared.ledger.fleet import Fleet
from shared.ledger.store import JobStore
from tests.support.fleet import live_worker
from tests.support.jobs import make_spec

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def submit(store: JobStore, *shas: str, client: str = "anonymous", **params: object) -> str:
    loras = [{"name": sha[:1], "sha256": sha} for sha in shas]
    return store.submit(make_spec(client, lora_mode="named", loras=loras, **params))


def take(store: JobStore, worker: str, *loaded: str) -> Claim:
    claimed = store.claim("tiny", worker, loaded=loaded)
    assert claimed is not None
    return claimed


@pytest.fixture
def fleet(redis_client: redis.Redis) -> Fleet:
    """Two living workers, `one` and `two`."""
    fleet = Fleet(redis_client)
    for name in ("one", "two"):
        fleet.announce(live_worker(name, profile="full"))
    return fleet


def test_a_worker_takes_the_job_whose_lora_it_has_loaded_before_the_next_in_order(
    store: JobStore,
) -> None:
    first, second = submit(store, A), submit(store, B)
    assert take(store, "one", B).spec.id == second
    assert take(store, "one", B).spec.id == first


def test_jobs_without_loras_keep_their_order(store: JobStore) -> None:
    first = submit(store)
    submit(store, B)
    assert take(store, "one", B).spec.id == first


def test_a_job_is_passed_over_for_a_second_at_most(store: JobStore) -> None:
    first, *_ = (submit(store, A), submit(store, B), submit(store, B))
    assert take(store, "one", B).spec.id != first
    time.sleep(1.05)
    assert take(store, "one", B).spec.id == first


@pytest.mark.usefixtures("fleet")
def test_a_lora_that_another_living_worker_has_loaded_is_left_to_it(store: JobStore) -> None:
    submit(store, A)
    take(store, "one")
    theirs, cold = submit(store, A), submit(store, C)
    assert take(store, "two").spec.id == cold
    assert take(store, "one", A).spec.id == theirs


@pytest.mark.usefixtures("fleet")
def test_no_worker_watches_a_queue_of_jobs_that_another_one_would_do_sooner(
    store: JobStore,
) -> None:
    submit(store, A)
    take(store, "one")
    theirs = submit(store, A)
    assert take(store, "two").spec.id == theirs


def test_what_a_dead_worker_had_loaded_counts_for_nothing(store: JobStore, fleet: Fleet) -> None:
    submit(store, A)
    take(store, "one")
    fleet.withdraw("one")
    first = submit(store, A)
    submit(store, C)
    assert take(store, "two").spec.id == first


def test_batch_jobs_do_not_overtake_interactive_ones_for_a_lora(store: JobStore) -> None:
    interactive = submit(store, A)
    submit(store, B, priority="batch")
    assert take(store, "one", B).spec.id == interactive


def test_clients_are_still_served_in_turn(store: JobStore) -> None:
    mine = [submit(store, B, client="ada") for _ in range(3)]
    theirs = submit(store, A, client="bob")
    assert take(store, "one", B).spec.id == mine[0]
    # Bob's turn has come; his job is passed over, and runs within the second.
    assert take(store, "one", B).spec.id == mine[1]
    time.sleep(1.05)
    assert take(store, "one", B).spec.id == theirs


def test_a_job_that_may_have_ended_its_worker_runs_in_its_order(store: JobStore) -> None:
    crashed = submit(store, A)
    take(store, "gone")
    store.reap_worker("gone")
    submit(store, B)
    assert take(store, "one", B).spec.id == crashed
