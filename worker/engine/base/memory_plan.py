"""The memory that a base needs on its device, as a sum of parts.

Weights are counted, LoRA slots and merged layers follow from the layers' shapes. Working memory is
an estimate from the networks' widths: what is alive at once in the widest layers, in the type that
they compute in. Works on networks without memory (on the meta device), so that a plan can be made
for a checkpoint that is not here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from worker.engine.base.tile_size import AREA_SLACK
from worker.engine.base.vae_tiles import SIDE

GIB = 2**30
# Tensors as wide as the first level that are alive at once in the last blocks of the networks.
UNET_COPIES, VAE_COPIES = 16, 8
# What libraries keep for convolutions, and what allocation in blocks loses.
WORKSPACE_BYTES = GIB // 4
EVALUATIONS = 2  # with guidance
LATENT_SCALE = 8
SLOTS = 128
TEXTS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by purpose: weights that stay, what a step, decoding and encoding words need besides,
    and LoRAs.
    """

    weights: int
    step: int
    decode: int
    words: int
    loras: int

    @property
    def peak(self) -> int:
        """The most that is in use at a time."""
        return self.weights + self.loras + self.work

    @property
    def work(self) -> int:
        """The largest of what is used in turn."""
        return max(self.step, self.decode, self.words)

    def shown(self) -> dict[str, str]:
        """In GiB, for the log."""
        parts = {**vars(self), "sum": self.peak}
        return {name: f"{size / GIB:.2f} GiB" for name, size in parts.items()}


def plan_memory(pipeline: Any, profile: str, side: int, loras: int = 0) -> MemoryPlan:
    """The plan for a Stable Diffusion pipeline whose pictures are made in windows of `side` px."""
    parts = {name: size_of(part) for name, part in _networks(pipeline).items()}
    offloads = profile == "model_offload"
    pixels = int(side**2 * AREA_SLACK)
    whole = profile == "full"
    decoded = pixels if whole else min(pixels, SIDE**2)
    words = [parts[name] for name in TEXTS if name in parts]
    vae = parts["vae"] if offloads else 0
    return MemoryPlan(
        weights=parts["unet"] if offloads else sum(parts.values()),
        step=step_bytes(pipeline.unet, pixels),
        decode=vae + decode_bytes(pipeline.vae, decoded),
        words=(max(words, default=0) if offloads else 0) + WORKSPACE_BYTES,
        loras=loras,
    )


def step_bytes(unet: Any, pixels: int) -> int:
    """One row's step: the skip connections, and the widest layers' tensors."""
    size = _bytes_each(unet)
    places = pixels // LATENT_SCALE**2
    widths = [int(width) for width in unet.config.block_out_channels]
    layers = int(unet.config.layers_per_block) + 1
    skips: int = sum(layers * width * places // 4**level for level, width in enumerate(widths))
    return EVALUATIONS * size * (skips + UNET_COPIES * widths[0] * places) + WORKSPACE_BYTES


def decode_bytes(vae: Any, pixels: int) -> int:
    """One picture's decoding: the last block works at full size."""
    width = int(vae.config.block_out_channels[0])
    return pixels * VAE_COPIES * width * _bytes_each(vae) + WORKSPACE_BYTES


def slot_bytes(unet: torch.nn.Module, layers: Iterable[str]) -> int:
    """LoRA slots on these layers (worker/engine/lora/slots.py)."""
    return sum(
        SLOTS * (prod(weight.shape[1:]) + weight.shape[0]) * _plain_size(weight)
        for weight in _weights(unet, layers)
    )


def merged_bytes(unet: torch.nn.Module, layers: Iterable[str], limit: int) -> int:
    """A set of LoRAs merged into these layers: one layer in float32 with its change; and all new
    weights, if they may stand beside the base's own (worker/engine/lora/merging.py).
    """
    weights = _weights(unet, layers)
    largest = max((weight.numel() for weight in weights), default=0)
    size = sum(weight.numel() * _plain_size(weight) for weight in weights)
    return (size if size <= limit else 0) + 3 * 4 * largest


def _weights(unet: torch.nn.Module, layers: Iterable[str]) -> list[torch.nn.Parameter]:
    return [unet.get_parameter(f"{layer}.weight") for layer in layers]


def _plain_size(weight: torch.Tensor) -> int:
    """Bytes of a LoRA's number beside this weight: int8 weights are computed with in fp16."""
    return max(2, weight.element_size())


def size_of(module: torch.nn.Module) -> int:
    return sum(weight.nbytes for weight in module.parameters())


def _networks(pipeline: Any) -> Mapping[str, torch.nn.Module]:
    named = {name: getattr(pipeline, name, None) for name in ("unet", "vae", *TEXTS)}
    return {name: part for name, part in named.items() if isinstance(part, torch.nn.Module)}


def _bytes_each(module: torch.nn.Module) -> int:
    return next(module.parameters()).element_size()
