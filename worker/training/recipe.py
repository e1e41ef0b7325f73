"""Every number on which a training run depends, in one frozen record.

Owns names, defaults and limits. A run's checkpoint stores its recipe, so that a resumed run has the
same settings.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shared.bases import identify_base
from shared.params import DEFAULT_TIMESTEP, is_lora_name
from worker.training.damage import RANGES, Kind
from worker.training.loop import Schedule

# A lesson's side in pixels; the share of it at which the teacher sees it and a LoRA learns; and the
# largest window of that. At half the size and less the teacher loses windows and lettering, at the
# full size it takes damage for detail.
LESSON_SIDE, LESSON_SHARE, MOST_CROP = 136, 0.59, 64

Task = Literal["restore", "style"]
Objective = Literal["rollout", "path"]


@dataclass(frozen=True)
class Recipe:
    """How one LoRA is trained. Sizes in pixels, rates per step.

    `treats` are the kinds of damage to make and undo; `prompts` are used with the photos (captions
    take precedence). `objective`: `rollout` follows the service's sampler and suits small bases,
    `path` draws one noise level per picture and suits large ones. `horizon` is the number of
    sampler steps with gradients; the last `whole_share` of the run uses all of them.
    `other_settings_share` of the batches use another strength and number of steps that a caller may
    choose. `structure`, `edges` and `detail` are the weights of 1 - SSIM, GMSD and the missing
    amount of fine detail beside the squared error, if latents can be unfolded or pictures are
    decoded. `compare_pixels` computes the loss on decoded pictures instead of on latents.
    `weight_decay` keeps a long run from growing weights without bound. A `graded` LoRA takes one
    step at any strength: it is faithful at the lowest and vivid at the highest, where a
    discriminator has the weight `adversarial`, and the newest weights are kept; with `lessons`, it
    learns to be vivid from that many redrawings by a large enlarger. A LoRA for `once` restores in
    one prediction at `timestep`, without noise. Of any other LoRA, the best weights are kept, by
    the mean over `strength` and `judged_strengths`.
    """

    name: str
    base: str
    task: Task = "restore"
    treats: tuple[Kind, ...] = ("noise", "blur", "jpeg", "lowres", "phone")
    prompts: tuple[str, ...] = ("",)
    rank: int = 32
    convolutions: bool = True
    objective: Objective = "rollout"
    steps: int = 2000
    batch: int = 4
    crop: int = 128
    learning_rate: float = 1e-3
    warmup: int = 50
    constant_share: float = 0.5
    weight_decay: float = 0.0
    horizon: int = 1
    graded: bool = False
    adversarial: float = 0.0
    lessons: int = 0
    once: bool = False
    timestep: int = DEFAULT_TIMESTEP
    whole_share: float = 0.3
    structure: float = 0.0
    edges: float = 0.0
    detail: float = 0.0
    compare_pixels: bool = False
    bfloat16: bool = True
    gradient_checkpointing: bool = False
    sampler_steps: int = 10
    strength: float = 0.4
    judged_strengths: tuple[float, ...] = (0.8,)
    other_settings_share: float = 0.4
    seed: int = 0
    held_out: int = 8
    max_side: int = 1400
    report_every: int = 200

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            self.steps,
            self.learning_rate,
            self.warmup,
            self.constant_share,
            self.seed,
            self.weight_decay,
        )

    @property
    def least_side(self) -> int:
        """Pixels that a photo must have on each side."""
        return max(self.crop, LESSON_SIDE) if self.lessons else self.crop

    @property
    def judged(self) -> tuple[float, ...]:
        """Every strength at which a run is evaluated, its own first."""
        return tuple(dict.fromkeys((self.strength, *self.judged_strengths)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def problem(self) -> str | None:
        """The problem with the numbers, as a sentence; None if there is none."""
        if unknown := set(self.treats) - set(RANGES):
            return f"treats {sorted(unknown)} is unknown; choose from {sorted(RANGES)}"
        if self.task == "restore" and not self.treats:
            return "treats is empty; name at least one kind of damage"
        if self.crop % 16:
            return f"crop is {self.crop}; it must be a multiple of 16"
        stem = f"{self.name}_{identify_base(self.base).id}"
        if "/" in self.name or not (is_lora_name(self.name) and is_lora_name(stem)):
            return f"name is {self.name!r}; no LoRA can be called so, or it is too long"
        small = {key for key in _POSITIVE if getattr(self, key) < 1}
        if small:
            return f"{', '.join(sorted(small))} must be 1 or more"
        return next((words for right, words in self._limits() if not right), None)

    def _limits(self) -> Iterator[tuple[bool, str]]:
        yield 0 < self.learning_rate < math.inf, "learning rate must be greater than 0"
        yield 0 <= self.constant_share < 1, "constant share must be 0 or more and less than 1"
        for name in ("weight_decay", "structure", "edges", "detail", "adversarial"):
            yield 0 <= getattr(self, name) < math.inf, f"{_spelled(name)} must be 0 or more"
        for name in ("whole_share", "other_settings_share"):
            yield 0 <= getattr(self, name) <= 1, f"{_spelled(name)} must be between 0 and 1"
        strengths = (self.strength, *self.judged_strengths)
        yield all(0 < value <= 1 for value in strengths), "strength must be above 0 and at most 1"
        yield self.held_out >= 0, "held out must be 0 or more"
        restores = self.task == "restore" and not self.graded
        yield not self.once or restores, "once is for restoring, and not for graded LoRAs"
        yield 1 <= self.timestep <= 999, "timestep must be 1 to 999"
        yield self.adversarial == 0 or self.graded, "adversarial is for graded LoRAs"
        yield self.lessons >= 0, "lessons must be 0 or more"
        yield not self.lessons or self.graded, "lessons are for graded LoRAs"
        yield (
            not self.lessons or self.crop <= MOST_CROP,
            f"crop must be at most {MOST_CROP} with lessons",
        )


_POSITIVE = ("rank", "steps", "batch", "crop", "horizon", "sampler_steps", "report_every")


def _spelled(name: str) -> str:
    return name.replace("_", " ")
