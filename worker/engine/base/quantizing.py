"""Rounds a base's network to weights of eight bits (`RETOUCH_QUANTIZE=int8`).

Owns which layers are rounded: those inside the blocks, which are nearly all of the weights. What
leads into the blocks and out of them, and the embeddings, stay as they are.
"""

from typing import Any

import structlog
import torch

from shared.checkpoints.facts import BadCheckpoint
from worker.engine.base.memory_plan import GIB, size_of
from worker.engine.lora.int8 import quantize_layer

logger = structlog.get_logger(__name__)

_UNET_BLOCKS = ("down_blocks.", "mid_block.", "up_blocks.")


def quantize_blocks(pipeline: Any) -> None:
    """Rounds the blocks of the UNet or of the transformer where they are. Raises BadCheckpoint."""
    network: Any = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    blocks = _blocks_of(network) if network is not None else ()
    if not blocks:
        raise BadCheckpoint(
            f"{type(pipeline).__name__} has no blocks that RETOUCH_QUANTIZE=int8 could round: "
            "leave the setting out"
        )
    before = size_of(network)
    for name, layer in network.named_modules():
        if name.startswith(blocks):
            quantize_layer(layer)
    sizes = (f"{size / GIB:.2f} GiB" for size in (before, size_of(network)))
    logger.info("weights rounded to eight bits", network=" -> ".join(sizes))


def _blocks_of(network: torch.nn.Module) -> tuple[str, ...]:
    """How the names of the layers in blocks begin; a transformer's blocks are its lists."""
    if hasattr(network, "down_blocks"):
        return _UNET_BLOCKS
    parts = network.named_children()
    return tuple(f"{name}." for name, part in parts if isinstance(part, torch.nn.ModuleList))
