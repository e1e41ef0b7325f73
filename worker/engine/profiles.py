"""What a device can hold, decided once at start.

Owns the thresholds. Memory of the weights is counted, that of the work on them is estimated from
SD 1.5 at 768 px in half precision.
"""

from dataclasses import dataclass
from typing import Any

import torch

GIB = 2**30

# Beside the weights: whole decoding, decoding in tiles, one part of the model at a time.
FULL_HEADROOM = int(3.5 * GIB)
TILED_HEADROOM = 2 * GIB
OFFLOAD_HEADROOM = int(1.2 * GIB)


# What a job usually is, and the smallest picture.
USUAL_PIXELS = 512 * 512
SMALL_PIXELS = 128 * 128

# On a CPU a row of 256 px or more uses all cores: in company it would only wait for the others.
# Smaller rows leave cores idle between layers; measured in docs/benchmarks.md.
CPU_ROWS = 4


@dataclass(frozen=True)
class EngineLimits:
    """Bytes and rows that an engine may use at once; whether it records the UNet's kernels.

    `pixels_per_step` bounds the pixels of all rows that share a step, 0 for any number.
    """

    profile: str
    rows_per_step: int
    adapter_bytes: int
    merged_bytes: int
    cache_bytes: int
    graphs: bool = False
    pixels_per_step: int = 0

    def rows_for(self, pixels: int) -> int:
        """How many rows of so many pixels may share a step."""
        if not self.pixels_per_step:
            return self.rows_per_step
        return max(1, min(self.rows_per_step, self.pixels_per_step // pixels))


def choose_limits(pipeline: Any, device: torch.device) -> EngineLimits:
    """The profile and limits that fit this pipeline on this device."""
    if device.type != "cuda":
        small = CPU_ROWS * SMALL_PIXELS
        return EngineLimits("cpu", CPU_ROWS, GIB, GIB, GIB // 2, pixels_per_step=small)
    total = torch.cuda.get_device_properties(device).total_memory
    profile = choose_profile(total, *_weights(pipeline))
    spare = max(GIB // 2, total - _weights(pipeline)[0] - FULL_HEADROOM)
    rows = 8 if profile == "full" and spare > 8 * GIB else 2 if profile == "full" else 1
    return EngineLimits(profile, rows, GIB, spare // 2, spare // 8, graphs=profile == "full")


def choose_profile(total_bytes: int, weight_bytes: int, largest_part_bytes: int) -> str:
    """`full`, `vae_tiling`, `model_offload` or `sequential_offload`, by the device's memory."""
    if total_bytes >= weight_bytes + FULL_HEADROOM:
        return "full"
    if total_bytes >= weight_bytes + TILED_HEADROOM:
        return "vae_tiling"
    if total_bytes >= largest_part_bytes + OFFLOAD_HEADROOM:
        return "model_offload"
    return "sequential_offload"


def _weights(pipeline: Any) -> tuple[int, int]:
    """Bytes of all parts' weights, and of the largest part's."""
    parts = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    sizes = [sum(weight.nbytes for weight in part.parameters()) for part in parts]
    return sum(sizes), max(sizes)
