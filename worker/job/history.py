"""Measured durations of stages on this deployment, so that the percentage and remaining time are
true.

Owns `history:{base}:{device}`: moving averages of seconds per unit of work. A unit is one megapixel
for stages that process pixels (per step while denoising), and one job for loading.
Also owns `history:enlarging:{device}`, by enlarger, per megapixel of input.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis
from pydantic import BaseModel, ConfigDict

from shared.jobs import Stage
from shared.ledger.redis_client import translated_errors

# Weight of a new observation; older ones fade within about twenty jobs.
FRESHNESS = 0.15
KEEP_SECONDS = 30 * 86_400
EXCHANGE_SECONDS = 1.0

# Used before the first job has run: measured with the embedded base on two cores.
FIRST_GUESS: dict[Stage, float] = {
    Stage.LOADING: 0.05,
    Stage.ENCODING: 0.4,
    Stage.DENOISING: 0.9,
    Stage.DECODING: 0.6,
    Stage.CHECKING: 0.15,
    Stage.SAVING: 0.2,
}


class StageCosts(BaseModel):
    """Seconds per unit of work, by stage."""

    model_config = ConfigDict(frozen=True)

    seconds: dict[Stage, float] = FIRST_GUESS

    def planned(
        self, megapixels: float, steps: int, result_megapixels: float | None = None
    ) -> dict[Stage, float]:
        """Expected seconds of each stage of one job."""
        units = work_units(megapixels, steps, result_megapixels)
        return {stage: max(1e-4, self.seconds[stage] * units[stage]) for stage in Stage}


def work_units(
    megapixels: float, steps: int, result_megapixels: float | None = None
) -> dict[Stage, float]:
    """The amount of work in each stage of one job, in the units of StageCosts. An enlarged result
    has more pixels than were worked on.
    """
    finished = result_megapixels or megapixels
    return {
        Stage.LOADING: 1.0,
        Stage.ENCODING: megapixels,
        Stage.DENOISING: megapixels * steps,
        Stage.DECODING: megapixels,
        Stage.CHECKING: finished,
        Stage.SAVING: finished,
    }


class History:
    """Reads and updates the averages of one base on one kind of device. Any thread may call it.

    The averages by stage are exchanged with the store at most once a second: for short jobs, that
    would cost as much as their progress.
    """

    def __init__(
        self,
        client: redis.Redis,
        base: str,
        device: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = client
        self._key = f"history:{base}:{device}"
        self._enlarging = f"history:enlarging:{device}"
        self._clock = clock
        self._lock = threading.Lock()
        self._averages: dict[Stage, float] = {}
        # Observed, and not yet mixed into the store's averages.
        self._news: list[tuple[Stage, float]] = []
        self._read_at = self._stored_at = -math.inf

    def costs(self) -> StageCosts:
        """The averages, with first estimates for what has not been measured."""
        with self._lock:
            if self._clock() - self._read_at >= EXCHANGE_SECONDS:
                self._read()
            return StageCosts(seconds=FIRST_GUESS | self._known())

    def learn(
        self,
        spent: Mapping[Stage, float],
        megapixels: float,
        steps: int,
        result_megapixels: float | None = None,
    ) -> None:
        """Mixes one finished job's seconds by stage into the averages; the first job sets them."""
        units = work_units(megapixels, steps, result_megapixels)
        with self._lock:
            self._news += [(stage, seconds / units[stage]) for stage, seconds in spent.items()]
            now = self._clock()
            if now - self._stored_at >= EXCHANGE_SECONDS:
                self._stored_at = now  # a store that is away is asked once a second too
                self._read()
                self._store()

    def enlarging(self, name: str, guess: float) -> float:
        """Seconds that this enlarger takes per megapixel; `guess` before the first job."""
        with translated_errors():
            known = self._redis.hget(self._enlarging, name)
        return guess if known is None else float(known)

    def learn_enlarging(self, name: str, seconds: float, megapixels: float) -> None:
        """Mixes the duration of one enlargement into the average; the first one sets it."""
        observed = seconds / megapixels
        average = _mixed(self.enlarging(name, observed), observed)
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.hset(self._enlarging, name, average)
            pipe.expire(self._enlarging, KEEP_SECONDS)
            pipe.execute()

    def _known(self) -> dict[Stage, float]:
        """With the lock: the averages of all workers, with what this one has to add."""
        known = dict(self._averages)
        for stage, observed in self._news:
            known[stage] = _mixed(known.get(stage, observed), observed)
        return known

    def _read(self) -> None:
        """With the lock."""
        self._read_at = self._clock()
        with translated_errors():
            fields = self._redis.hgetall(self._key)
        read = {Stage(str(stage)): float(value) for stage, value in fields.items()}
        self._averages = {stage: value for stage, value in read.items() if stage.is_known}

    def _store(self) -> None:
        """With the lock: writes what this worker has to add, and nothing else."""
        known = self._known()
        fields: dict[Any, Any] = {str(stage): known[stage] for stage, _ in self._news}
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.hset(self._key, mapping=fields)
            pipe.expire(self._key, KEEP_SECONDS)
            pipe.execute()
        self._averages, self._news = known, []


def _mixed(average: float, observed: float) -> float:
    return average + FRESHNESS * (observed - average)
