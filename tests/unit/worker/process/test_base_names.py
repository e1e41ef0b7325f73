"""One name for one checkpoint: other weights under a name that is in use are refused."""

import threading

import pytest
import redis

from shared.checkpoints.facts import BadCheckpoint
from shared.ledger.fleet import Fleet
from tests.support.fleet import live_worker
from tests.support.wait import wait_until
from worker.process import base_names
from worker.process.base_names import reserve_base

NAME = "sd15/dreamshaper-8"


@pytest.fixture
def fleet(redis_client: redis.Redis) -> Fleet:
    return Fleet(redis_client)


def announce(fleet: Fleet, fingerprint: str) -> None:
    fleet.announce(
        live_worker("one", host="studio-3", base=NAME, fingerprint=fingerprint, profile="full")
    )


def test_another_worker_with_the_same_weights_joins(fleet: Fleet) -> None:
    announce(fleet, "abc")
    reserve_base(fleet, NAME, "abc")


def test_other_weights_under_a_name_in_use_are_refused_with_the_host_that_has_it(
    fleet: Fleet,
) -> None:
    announce(fleet, "abc")
    with pytest.raises(BadCheckpoint, match="studio-3 serves 'sd15/dreamshaper-8' with other"):
        reserve_base(fleet, NAME, "xyz")


def test_other_names_are_free(fleet: Fleet) -> None:
    announce(fleet, "abc")
    reserve_base(fleet, "sd15/other", "xyz")


def test_a_worker_of_an_earlier_version_which_names_no_weights_is_no_conflict(
    fleet: Fleet,
) -> None:
    announce(fleet, "")
    reserve_base(fleet, NAME, "xyz")


def test_a_name_is_free_again_some_seconds_after_its_last_worker_has_gone(
    fleet: Fleet, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_names, "LOOK_SECONDS", 0.01)
    announce(fleet, "abc")
    fleet.withdraw("one")
    waiting = threading.Thread(target=reserve_base, args=(fleet, NAME, "xyz"))
    waiting.start()
    redis_client.pexpire(f"base:{NAME}", 50)
    wait_until(lambda: not waiting.is_alive(), description="the name to be free")
    assert redis_client.get(f"base:{NAME}") == "xyz"
