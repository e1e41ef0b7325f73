"""What fits into a device's free memory, decided once at start.

Owns the thresholds. Weights are counted; the usual working memory is that of SD 1.5 at 768 px in
half precision, and worker/engine/base/memory_plan.py computes what a base needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog
import torch

from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.memory_plan import GIB, MemoryPlan, plan_memory
from worker.engine.base.tile_size import WHOLE, TileSize, choose_tile_size

logger = structlog.get_logger(__name__)

# Memory besides the weights for: decoding whole pictures, decoding in tiles, one model part at a
# time.
FULL_HEADROOM = int(3.5 * GIB)
TILED_HEADROOM = 2 * GIB
OFFLOAD_HEADROOM = int(1.2 * GIB)


# Profiles in which parts of the model stay in main memory while they are not used.
OFFLOADING = ("model_offload", "sequential_offload")
# Profiles in which the autoencoder works in tiles.
TILING = ("vae_tiling", "model_offload")

# The size of a usual job, and of the smallest picture.
USUAL_PIXELS = 512 * 512
SMALL_PIXELS = 128 * 128

# How many usual pictures the autoencoder handles at once. Four together take 1.4 to 1.6 times less
# time on a device with enough memory; on a CPU batching gains nothing (docs/benchmarks.md).
CODED_TOGETHER = 4

# On a CPU one row of 256 px or more uses all cores, so batching would only delay it. Smaller rows
# leave cores idle between layers (measured in docs/benchmarks.md).
CPU_ROWS = 4


@dataclass(frozen=True)
class EngineLimits:
    """Bytes and rows that an engine may use at once; `graphs` is whether it captures CUDA graphs.

    `pixels_per_step` bounds the pixels of all rows that share a step, 0 for any number, and
    `pixels_coded` those that are encoded or decoded together.
    """

    profile: str
    rows_per_step: int
    adapter_bytes: int
    merged_bytes: int
    cache_bytes: int
    graphs: bool = False
    pixels_per_step: int = 0
    pixels_coded: int = 0
    tile_size: TileSize = WHOLE

    def rows_for(self, pixels: int) -> int:
        """How many rows with this many pixels may share a step."""
        if not self.pixels_per_step:
            return self.rows_per_step
        return max(1, min(self.rows_per_step, self.pixels_per_step // pixels))

    def coded_together(self, pixels: int) -> int:
        """How many rows with this many pixels may be encoded or decoded together."""
        return max(1, min(self.rows_per_step, self.pixels_coded // pixels))


def choose_limits(loaded: LoadedBase) -> EngineLimits:
    """The limits for this base, its profile and its device, whose free memory counts."""
    tiles = choose_tile_size(loaded.base.id, has_room=loaded.profile == "full")
    if loaded.device.type != "cuda":
        small = CPU_ROWS * SMALL_PIXELS
        return EngineLimits(
            "cpu", CPU_ROWS, GIB, GIB, GIB // 2, pixels_per_step=small, tile_size=tiles
        )
    profile = loaded.profile
    spare = spare_bytes(free_bytes(loaded.device))
    rows = 8 if profile == "full" and spare > 8 * GIB else 2 if profile == "full" else 1
    coded = CODED_TOGETHER * USUAL_PIXELS if rows > CODED_TOGETHER else 0
    return EngineLimits(
        profile,
        rows,
        GIB,
        spare // 2,
        spare // 8,
        graphs=profile == "full",
        pixels_coded=coded,
        tile_size=tiles,
    )


def settled_profile(pipeline: Any, base_id: str, device: torch.device, wanted: str) -> str:
    """The requested profile, or for `auto` the one that fits into the free memory; `cpu` without a
    CUDA device. The weights are not on the device yet.
    """
    if device.type != "cuda":
        return "cpu"
    free = free_bytes(device)
    plans = plans_of(pipeline, base_id)
    profile = wanted
    if wanted == "auto":
        profile = choose_profile(free, *_weights(pipeline), plans)
    plan = plans.get(profile)
    logger.info(
        "memory", free=f"{free / GIB:.2f} GiB", profile=profile, **(plan.shown() if plan else {})
    )
    return profile


def plans_of(pipeline: Any, base_id: str) -> dict[str, MemoryPlan]:
    """The memory of each profile, for families with a UNet."""
    if not hasattr(pipeline, "unet"):
        return {}
    sides = {has_room: choose_tile_size(base_id, has_room).side for has_room in (True, False)}
    return {
        profile: plan_memory(pipeline, profile, sides[profile == "full"])
        for profile in ("full", "vae_tiling", "model_offload")
    }


def choose_profile(
    free_bytes: int,
    weight_bytes: int,
    largest_part_bytes: int,
    plans: Mapping[str, MemoryPlan] = MappingProxyType({}),
) -> str:
    """`full`, `vae_tiling`, `model_offload` or `sequential_offload`, by the device's free memory.
    The usual headroom is enough, unless a plan says more.
    """
    needed = {
        "full": weight_bytes + FULL_HEADROOM,
        "vae_tiling": weight_bytes + TILED_HEADROOM,
        "model_offload": largest_part_bytes + OFFLOAD_HEADROOM,
    }
    for profile, usual in needed.items():
        plan = plans.get(profile)
        if free_bytes >= max(usual, plan.peak if plan else 0):
            return profile
    return "sequential_offload"


def spare_bytes(free: int) -> int:
    """What may be kept beside the loaded weights and a usual picture's working memory."""
    return max(GIB // 2, free - FULL_HEADROOM)


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still use: other processes may hold some of the device."""
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + unused)


def _weights(pipeline: Any) -> tuple[int, int]:
    """Bytes of all parts' weights, and of the largest part's."""
    parts = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    sizes = [sum(weight.nbytes for weight in part.parameters()) for part in parts]
    return sum(sizes), max(sizes)
