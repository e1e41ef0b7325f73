"""A base that is loaded, and the families that the step engine knows."""

from dataclasses import dataclass
from typing import Any

import torch

from shared.bases import Base

# One UNet and one text encoder, which three pipelines of diffusers share.
STABLE_DIFFUSION = {"tiny", "sd15", "sd21"}
STEP_FAMILIES = STABLE_DIFFUSION | {"sdxl"}


@dataclass(frozen=True)
class LoadedBase:
    """A warm pipeline, its family, and the device and dtype that it lives on.

    `autocast` is the type in which the UNet computes where that is not its own; `profile` is how
    much of the pipeline stays on the device (worker/engine/base/profiles.py).
    """

    pipeline: Any
    base: Base
    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None = None
    profile: str = "full"
