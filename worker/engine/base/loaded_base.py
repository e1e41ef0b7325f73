"""A loaded base, and the families that the step engine supports."""

from dataclasses import dataclass
from typing import Any

import torch

from shared.bases import Base

# One UNet and one text encoder, shared by three of diffusers' pipelines.
STABLE_DIFFUSION = {"tiny", "sd15", "sd21"}
STEP_FAMILIES = STABLE_DIFFUSION | {"sdxl"}


@dataclass(frozen=True)
class LoadedBase:
    """A warm pipeline, its family, its device and its dtype.

    `autocast` is the type in which the UNet computes if it differs from the weights'; `profile`
    says how much of the pipeline stays on the device (worker/engine/base/profiles.py);
    `fingerprint` identifies the weights.
    """

    pipeline: Any
    base: Base
    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None = None
    profile: str = "full"
    fingerprint: str = ""
