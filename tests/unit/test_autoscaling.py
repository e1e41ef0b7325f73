"""The replayed day's scaler decides as KEDA and the autoscaler behind it do."""

from benchmarks.autoscaling import Scaler


def decisions(scaler: Scaler, *seen: tuple[float, int]) -> list[int]:
    return [scaler.desired(unfinished, now) for now, unfinished in seen]


def test_the_first_job_starts_a_worker_and_more_jobs_start_more_up_to_the_limit() -> None:
    scaler = Scaler(target=4, most=3, cooldown=10)

    assert decisions(scaler, (0, 0), (1, 1), (2, 5), (3, 40)) == [0, 1, 2, 3]


def test_a_pause_that_is_shorter_than_the_cooldown_stops_nobody() -> None:
    scaler = Scaler(target=4, most=3, cooldown=10)

    assert decisions(scaler, (0, 12), (5, 0), (9, 0)) == [3, 3, 3]


def test_after_the_cooldown_there_is_nobody_and_the_next_job_starts_again() -> None:
    scaler = Scaler(target=4, most=3, cooldown=10)

    assert decisions(scaler, (0, 12), (9, 1), (15, 0), (25, 0), (26, 1)) == [3, 3, 1, 0, 1]
