"""Rounds a base's UNet to weights of eight bits (`RETOUCH_QUANTIZE=int8`).

Owns which layers are rounded: those inside the blocks, which are nearly all of the weights. The
first and the last convolution and the embedding of the timestep stay as they are.
"""

from typing import Any

import structlog

from shared.bases import Base
from shared.checkpoints.facts import BadCheckpoint
from worker.engine.base.loaded_base import STEP_FAMILIES
from worker.engine.base.memory_plan import GIB, size_of
from worker.engine.lora.int8 import quantize_layer

logger = structlog.get_logger(__name__)

_BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")


def quantize_unet(pipeline: Any, base: Base) -> None:
    """Rounds the UNet where it is. Raises BadCheckpoint for a base without one."""
    if base.id not in STEP_FAMILIES:
        raise BadCheckpoint(
            f"RETOUCH_QUANTIZE=int8 works for SD 1.x, SD 2.x and SDXL; this base is {base.label}"
        )
    unet = pipeline.unet
    before = size_of(unet)
    for name, layer in unet.named_modules():
        if name.startswith(_BLOCKS):
            quantize_layer(layer)
    sizes = (f"{size / GIB:.2f} GiB" for size in (before, size_of(unet)))
    logger.info("weights rounded to eight bits", unet=" -> ".join(sizes))
