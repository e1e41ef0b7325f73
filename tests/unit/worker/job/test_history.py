"""The averages behind percentages: learnt from every job, exchanged with the store now and then."""

import pytest
import redis

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


def test_what_could_not_be_stored_is_not_forgotten(redis_client: redis.Redis) -> None:
    now = [100.0]
    history = History(redis_client, "tiny", "cpu", clock=lambda: now[0])
    history.learn({Stage.SAVING: 1.0}, megapixels=1.0, steps=4)
    history.learn({Stage.SAVING: 3.0}, megapixels=1.0, steps=4)
    known = history.costs()
    now[0] += 10 * EXCHANGE_SECONDS
    assert history.costs() == known
