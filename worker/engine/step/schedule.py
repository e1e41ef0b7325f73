"""DPM-Solver++ (2M) as plain coefficients, so that rows at different steps share one UNet call.

Lu et al. 2022, arXiv:2211.01095; indices and orders are those of diffusers'
`DPMSolverMultistepScheduler`, whose sigmas and timesteps are used unchanged. The update is linear
in the sample `x`, the model's output `e` and the previous data prediction:

    x0 = P*x + Q*e        x' = A*x + B*x0 + C*x0_previous
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from diffusers import DPMSolverMultistepScheduler

from shared.params import executed_steps

Floats = npt.NDArray[np.float64]

# Below this many steps diffusers makes the last one first order, for stability.
FEW_STEPS = 15


class UnsupportedSchedule(ValueError):
    """Raised when a checkpoint's scheduler does something that the coefficients cannot express."""


@dataclass(frozen=True)
class StepPlan:
    """All executed steps of one job.

    `timesteps` are the UNet's inputs; `start` is (alpha, sigma) of the first noise; `table` is
    [steps, 5] with P, Q, A, B, C.
    """

    timesteps: tuple[int, ...]
    start: tuple[float, float]
    table: Floats

    def __len__(self) -> int:
        return len(self.timesteps)


class Schedule:
    """Plans for one checkpoint's scheduler configuration. Plans are computed once and cached."""

    def __init__(self, config: Any) -> None:
        self._scheduler = DPMSolverMultistepScheduler.from_config(config)
        _refuse_unsupported(self._scheduler.config)
        self._prediction = str(self._scheduler.config.prediction_type)
        self.plan = lru_cache(maxsize=512)(self._plan)

    def _plan(self, steps: int, strength: float) -> StepPlan:
        """The last `executed_steps(steps, strength)` of `steps` steps.

        If `steps * strength` is below one, diffusers has no step; here it is a single one, from the
        strength's own position in the schedule.
        """
        if int(steps * strength) == 0:
            return self._single(strength)
        self._scheduler.set_timesteps(steps)
        begin = steps - executed_steps(steps, strength)
        sigmas = self._scheduler.sigmas.double().numpy()
        alphas = 1 / np.sqrt(sigmas**2 + 1)
        scaled = sigmas * alphas
        rows = [self._row(alphas, scaled, step, begin, steps) for step in range(begin, steps)]
        return StepPlan(
            timesteps=tuple(int(t) for t in self._scheduler.timesteps[begin:]),
            start=(float(alphas[begin]), float(scaled[begin])),
            table=np.array(rows),
        )

    def _single(self, strength: float) -> StepPlan:
        signals = self._scheduler.alphas_cumprod.double().numpy()
        timestep = round(strength * (len(signals) - 1))
        alpha, sigma = float(signals[timestep] ** 0.5), float((1 - signals[timestep]) ** 0.5)
        p, q = _data_prediction(self._prediction, alpha, sigma)
        return StepPlan((timestep,), (alpha, sigma), np.array([[p, q, 0.0, 1.0, 0.0]]))

    def _row(
        self, alphas: Floats, sigmas: Floats, step: int, begin: int, steps: int
    ) -> list[float]:
        p, q = _data_prediction(self._prediction, alphas[step], sigmas[step])
        a = sigmas[step + 1] / sigmas[step]
        growth = alphas[step + 1] - alphas[step] * a  # = -alpha' (e^-h - 1)
        is_last = step == steps - 1
        final_is_first_order = steps < FEW_STEPS or sigmas[-1] == 0
        if step == begin or (is_last and final_is_first_order):
            return [p, q, a, growth, 0.0]
        ratio = _half_steps(alphas, sigmas, step)
        return [p, q, a, growth * (1 + ratio), -growth * ratio]


def _half_steps(alphas: Floats, sigmas: Floats, step: int) -> float:
    """1 / (2 r0), with r0 the quotient of the last two steps in log-SNR."""
    before, here, after = np.log(alphas[step - 1 : step + 2] / sigmas[step - 1 : step + 2])
    return float(0.5 * (after - here) / (here - before))


def _data_prediction(kind: str, alpha: float, sigma: float) -> tuple[float, float]:
    """P and Q for the kind of prediction that the model makes."""
    if kind == "epsilon":
        return 1 / alpha, -sigma / alpha
    if kind == "v_prediction":
        return alpha, -sigma
    return 0.0, 1.0


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
