"""The averages behind percentages: learnt from every job, exchanged with the store now and then."""

from contextlib import suppress
from typing import Any, cast

import pytest
import redis

from shared.errors import StoreUnavailable
from shared.jobs import Stage
from worker.job.history import EXCHANGE_SECONDS, FIRST_GUESS, History


def test_the_first_job_sets_the_costs_and_later_ones_move_them(redis_client: redis.Redis) -> None:
    history = History(redis_client, "tiny", "cpu")
    assert history.costs().seconds == FIRST_GUESS
    history.learn({Stage.DENOISING: 8.0}, megapixels=2.0, steps=4)
    assert history.costs().seconds[Stage.DENOISING] == pytest.approx(1.0)
    history.learn({Stage.DENOISING: 16.0}, megapixels=2.0, steps=4)
    assert 1.0 < history.costs().seconds[Stage.DENOISING] < 1.5
    assert history.costs().planned(1.0, 10)[Stage.DENOISING] == pytest.approx(11.5, abs=0.1)


def test_jobs_in_quick_succession_exchange_their_averages_once_a_second(
    redis_client: redis.Redis,
) -> None:
    # Given two workers with averages of their own
    now = [100.0]
    ours, theirs = (History(redis_client, "tiny", "cpu", clock=lambda: now[0]) for _ in range(2))

    def learn(history: History, seconds: float) -> float:
        history.learn({Stage.SAVING: seconds}, megapixels=1.0, steps=4)
        return history.costs().seconds[Stage.SAVING]

    def stored() -> float:
        return float(redis_client.hget("history:tiny:cpu", "saving") or 0.0)

    # When one has many jobs at once
    assert learn(ours, 1.0) == stored() == 1.0
    assert learn(ours, 2.0) < learn(ours, 2.0) < 2.0
    # Then it knows of all, and the store of the first until a second has passed
    assert stored() == theirs.costs().seconds[Stage.SAVING] == 1.0
    now[0] += EXCHANGE_SECONDS
    assert learn(ours, 2.0) == stored() > 1.3
    # And the other worker learns from them
    assert theirs.costs().seconds[Stage.SAVING] == stored()


def test_what_is_not_stored_yet_is_added_to_what_others_have_learnt(
    redis_client: redis.Redis,
) -> None:
    # Given a worker whose last job came too soon to be stored, and an hour of others' work
    now = [100.0]
    ours, theirs = (History(redis_client, "tiny", "cpu", clock=lambda: now[0]) for _ in range(2))
    for _ in range(2):
        ours.learn({Stage.SAVING: 1.0, Stage.DENOISING: 4.0}, megapixels=1.0, steps=4)
    for _ in range(60):
        now[0] += 60
        theirs.learn({Stage.SAVING: 10.0, Stage.DENOISING: 40.0}, megapixels=1.0, steps=4)
    learnt = theirs.costs().seconds
    # When it is asked, and learns of one stage
    known = ours.costs().seconds
    now[0] += 60
    ours.learn({Stage.SAVING: 10.0}, megapixels=1.0, steps=4)
    # Then it starts from theirs, and leaves what it has nothing to say of
    assert known[Stage.SAVING] == pytest.approx(10.0, rel=0.2)
    now[0] += 60
    after = theirs.costs().seconds
    assert after[Stage.SAVING] == pytest.approx(10.0, rel=0.2)
    assert after[Stage.DENOISING] == pytest.approx(learnt[Stage.DENOISING], rel=0.2)


class Away:
    """A store that does not answer, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def hgetall(self, _: str) -> None:
        self.asked += 1
        raise redis.ConnectionError

    def pipeline(self) -> None:
        self.asked += 1
        raise redis.ConnectionError


def test_a_store_that_is_away_is_asked_once_a_second_and_nothing_is_forgotten(
    redis_client: redis.Redis,
) -> None:
    # Given
    now, away = [100.0], Away()
    history = History(cast(Any, away), "tiny", "cpu", clock=lambda: now[0])
    # When jobs come in quick succession
    for _ in range(5):
        with suppress(StoreUnavailable):
            history.learn({Stage.SAVING: 3.0}, megapixels=1.0, steps=4)
        with suppress(StoreUnavailable):
            history.costs()
    # Then
    assert away.asked == 1
    assert history.costs().seconds[Stage.SAVING] == 3.0
    # And it is stored when the store is back
    now[0] += EXCHANGE_SECONDS
    history._redis = redis_client
    history.learn({Stage.SAVING: 3.0}, megapixels=1.0, steps=4)
    assert float(redis_client.hget("history:tiny:cpu", "saving") or 0) == 3.0


def test_what_is_stored_is_always_added_to_what_the_store_has(redis_client: redis.Redis) -> None:
    # Given averages of an hour's work, and a store that is away when a new worker first asks
    now = [100.0]
    History(redis_client, "tiny", "cpu").learn({Stage.SAVING: 10.0}, megapixels=1.0, steps=4)
    history = History(cast(Any, Away()), "tiny", "cpu", clock=lambda: now[0])
    with suppress(StoreUnavailable):
        history.costs()
    # When it is back before the worker's first job ends
    now[0] += EXCHANGE_SECONDS / 2
    history._redis = redis_client
    history.learn({Stage.SAVING: 1.0}, megapixels=1.0, steps=4)
    # Then this job is one of many
    stored = float(redis_client.hget("history:tiny:cpu", "saving") or 0)
    assert stored == pytest.approx(10.0, rel=0.2)
