"""A job's steps as one table: timesteps, initial noise, coefficients.

Owns the meaning of the model's output. The update is linear in the sample `x`, the model's output
`e`, the previous data prediction and fresh noise `n`; the sampler (samplers.py) gives the second
part:

    x0 = P*x + Q*e        x' = A*x + B*x0 + C*x0_previous + N*n
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.params import DEFAULT_SAMPLER, Sampler
from worker.engine.base.schedulers import data_prediction, make_scheduler
from worker.engine.step.samplers import CLEAN, STEPS, Level, Step

Floats = npt.NDArray[np.float64]


class UnsupportedSchedule(ValueError):
    """Raised when a checkpoint's scheduler does something that the coefficients cannot express."""


@dataclass(frozen=True)
class StepPlan:
    """All executed steps of one job.

    `timesteps` are the UNet's inputs; `start` is (alpha, sigma) of the first noise; `table` is
    [steps, 6] with P, Q, A, B, C, N.
    """

    timesteps: tuple[float, ...]
    start: tuple[float, float]
    table: Floats

    def __len__(self) -> int:
        return len(self.timesteps)


class Schedule:
    """Plans for one checkpoint's scheduler configuration. Plans are made once and kept."""

    def __init__(self, config: Any) -> None:
        scheduler = make_scheduler(config, "dpmpp_2m")
        _refuse_unsupported(scheduler.config)
        self._config = config
        self._prediction = str(scheduler.config.prediction_type)
        self._signals = scheduler.alphas_cumprod.double().numpy()
        self.plan = lru_cache(maxsize=512)(self._plan)

    def _plan(
        self,
        steps: int,
        strength: float,
        sampler: Sampler = DEFAULT_SAMPLER,
        trailing: bool = False,
    ) -> StepPlan:
        """The last `executed_steps(steps, strength)` of `steps` steps.

        If `steps * strength` is below one, diffusers has no step; here it is a single one, from the
        strength's own position in the schedule, for every sampler.
        """
        if int(steps * strength) == 0:
            return self._planned([self._single(strength)])
        scheduler = make_scheduler(self._config, sampler, trailing)
        return self._planned(STEPS[sampler](scheduler, steps, strength))

    def once(self, timestep: int, strength: float, difference: bool = False) -> StepPlan:
        """A single prediction: latents are passed without noise, as if they were at this level, and
        `strength` is the share of the change that is applied. If the network predicts the
        `difference`, it is subtracted as it is, whatever the level.
        """
        update = (1 - strength, strength, 0.0, 0.0)
        if difference:
            return StepPlan((timestep,), CLEAN, np.array([(1.0, -1.0, *update)]))
        plan = self._planned([Step(timestep, self._level(timestep), update)])
        return replace(plan, start=CLEAN)

    def _single(self, strength: float) -> Step:
        time = round(strength * (len(self._signals) - 1))
        return Step(time, self._level(time), (0.0, 1.0, 0.0, 0.0))

    def _level(self, timestep: int) -> Level:
        signal = float(self._signals[min(timestep, len(self._signals) - 1)])
        return Level(signal**0.5, (1 - signal) ** 0.5)

    def _planned(self, steps: list[Step]) -> StepPlan:
        rows = [(*data_prediction(self._prediction, *s.level), *s.update) for s in steps]
        return StepPlan(tuple(s.timestep for s in steps), steps[0].level, np.array(rows))


def _refuse_unsupported(config: Any) -> None:
    known = (
        config.algorithm_type == "dpmsolver++"
        and config.solver_order == 2
        and config.solver_type == "midpoint"
        and config.lower_order_final
        and not config.euler_at_final
        and not config.thresholding
        and not config.use_flow_sigmas
        and config.prediction_type in ("epsilon", "v_prediction", "sample")
    )
    if not known:
        raise UnsupportedSchedule("the checkpoint's scheduler is not DPM-Solver++ (2M)")
