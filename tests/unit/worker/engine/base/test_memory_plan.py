"""Memory as arithmetic: networks in their real size, on the meta device, against usual cards."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from tests.support.published_networks import on_meta
from worker.engine.base.memory_plan import GIB, merged_bytes, plan_memory, size_of, slot_bytes
from worker.engine.base.profiles import choose_profile, plans_of, spare_bytes
from worker.engine.base.quantizing import quantize_blocks
from worker.engine.base.tile_size import choose_tile_size
from worker.engine.base.vae_tiles import SIDE, tile_vae

# What the driver, the context and the desktop leave free of a card's nominal memory.
TAKEN_GIB = 0.4


@cache
def pipeline(family: str) -> Any:
    """The family's published networks in half precision, without memory."""
    made = {name: part.to(torch.float16) for name, part in on_meta(family).items()}
    if family == "sdxl":
        made["vae"] = made["vae"].to(torch.float32)  # its first autoencoder overflows
    return SimpleNamespace(**made)


def kohya_layers(unet: torch.nn.Module) -> Iterator[str]:
    """What kohya's LoRAs change: all of the transformers, with their 1x1 convolutions."""
    for name, module in unet.named_modules():
        inside = ".attentions." in name
        if inside and isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            yield name


@pytest.mark.parametrize(
    ("family", "card_gib", "profile"),
    [
        ("sd15", 4, "model_offload"),
        ("sd15", 6, "full"),
        ("sd15", 8, "full"),
        ("sd15", 12, "full"),
        ("sdxl", 4, "sequential_offload"),
        ("sdxl", 6, "sequential_offload"),
        ("sdxl", 8, "model_offload"),
        ("sdxl", 12, "vae_tiling"),
        ("sdxl", 24, "full"),
    ],
)
def test_a_usual_lora_fits_beside_the_base_in_the_profile_of_a_card(
    family: str, card_gib: int, profile: str
) -> None:
    base, free = pipeline(family), int((card_gib - TAKEN_GIB) * GIB)
    sizes = [size_of(part) for part in vars(base).values()]

    chosen = choose_profile(free, sum(sizes), max(sizes), plans_of(base, family))

    assert chosen == profile
    if chosen == "sequential_offload":
        return
    layers = list(kohya_layers(base.unet))
    side = choose_tile_size(family, has_room=chosen == "full").side
    limit = spare_bytes(free - plan_memory(base, chosen, side).weights) // 2
    for loras in (slot_bytes(base.unet, layers), merged_bytes(base.unet, layers, limit)):
        plan = plan_memory(base, chosen, side, loras)
        assert plan.peak <= free, plan.shown()


@cache
def rounded(family: str) -> Any:
    """The same with weights of eight bits in the UNet."""
    made = dict(vars(pipeline(family)))
    made["unet"] = deepcopy(made["unet"])
    whole = SimpleNamespace(**made)
    quantize_blocks(whole)
    return whole


@pytest.mark.parametrize(
    ("family", "card_gib", "profile"),
    [
        ("sd15", 4, "vae_tiling"),
        ("sd15", 6, "full"),
        ("sdxl", 4, "sequential_offload"),
        ("sdxl", 6, "model_offload"),
        ("sdxl", 8, "vae_tiling"),
        ("sdxl", 12, "full"),
    ],
)
def test_weights_of_eight_bits_and_a_usual_lora_fit_a_smaller_card(
    family: str, card_gib: int, profile: str
) -> None:
    base, free = rounded(family), int((card_gib - TAKEN_GIB) * GIB)
    assert size_of(base.unet) < 0.52 * size_of(pipeline(family).unet)
    sizes = [size_of(part) for part in vars(base).values()]
    chosen = choose_profile(free, sum(sizes), max(sizes), plans_of(base, family))
    assert chosen == profile
    if chosen != "sequential_offload":
        side = choose_tile_size(family, has_room=chosen == "full").side
        layers = list(kohya_layers(base.unet))
        plan = plan_memory(base, chosen, side, slot_bytes(base.unet, layers))
        assert plan.peak <= free, plan.shown()


@pytest.mark.parametrize(("family", "at_most_gib"), [("sd15", 0.7), ("sdxl", 4.5)])
def test_merging_takes_the_changed_layers_once_and_one_of_them_in_single_precision(
    family: str, at_most_gib: float
) -> None:
    unet = pipeline(family).unet
    layers = list(kohya_layers(unet))
    changed = sum(unet.get_submodule(layer).weight.nbytes for layer in layers)
    assert changed < merged_bytes(unet, layers, limit=24 * GIB) <= at_most_gib * GIB
    assert merged_bytes(unet, layers, limit=0) <= 0.2 * GIB


def test_text_encoders_in_turn_need_the_larger_one_only() -> None:
    base = pipeline("sdxl")
    plan = plan_memory(base, "model_offload", 1024)
    larger = size_of(base.text_encoder_2)
    assert larger <= plan.words < larger + size_of(base.text_encoder) + GIB // 2


def test_sdxls_autoencoder_works_in_tiles_at_its_usual_size() -> None:
    vae: Any = AutoencoderKL(
        sample_size=1024,
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    assert vae.tile_sample_min_size == 1024
    assert tile_vae(vae, enabled=True)
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size) == (SIDE, SIDE // 8)
    assert tile_vae(vae, enabled=True)
    assert vae.tile_latent_min_size == SIDE // 8
