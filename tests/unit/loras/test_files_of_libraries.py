"""Files as the libraries themselves write them, from the configurations of the real families.

The networks have the families' true widths and few layers; most live on the meta device, since
only the LoRA's own factors are ever written.
"""

from pathlib import Path
from typing import Any

import pytest

from shared.loras.catalog import Catalog
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry, LoraKind, LoraState
from tests.support.published_unets import PUBLISHED

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
peft_utils = pytest.importorskip("peft.utils")

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
UNETS: dict[str, dict[str, Any]] = {
    **PUBLISHED,
    "tiny": {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "attention_head_dim": 8,
        "cross_attention_dim": 64,
    },
}


def factors_of(model: Any, targets: list[str], rank: int = 2) -> dict[str, Any]:
    """A LoRA's state for `model`, in PEFT's names, with random values."""
    model.add_adapter(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
    state = peft_utils.get_peft_model_state_dict(model)
    return {name: torch.randn(factor.shape, dtype=torch.float16) for name, factor in state.items()}


def unet_factors(base: str, targets: list[str], rank: int = 2) -> dict[str, Any]:
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**UNETS[base])
    return factors_of(unet, targets, rank)


def save_sd(folder: Path, **layers: Any) -> Path:
    pipeline = "StableDiffusionXLPipeline" if "text_encoder_2_lora_layers" in layers else None
    saver = getattr(diffusers, pipeline or "StableDiffusionPipeline")
    saver.save_lora_weights(folder, weight_name="saved.safetensors", **layers)
    return folder / "saved.safetensors"


def summary(entry: LoraEntry) -> tuple[str, LoraKind, int | None, LoraState]:
    return entry.base, entry.kind, entry.rank, entry.state


@pytest.mark.parametrize("base", UNETS)
def test_what_diffusers_saves_is_told(base: str, tmp_path: Path) -> None:
    path = save_sd(tmp_path, unet_lora_layers=unet_factors(base, ATTENTION))

    entry = check_file(path)

    assert summary(entry) == (base, LoraKind.LORA, 2, LoraState.AVAILABLE), entry
    assert entry.scheme == "diffusers"


def test_convolutions_make_it_a_locon_and_every_layer_a_full_one(tmp_path: Path) -> None:
    convolutions = [*ATTENTION, "conv1", "conv2"]
    whole = [*convolutions, "ff.net.0.proj", "time_emb_proj", "proj_in", "conv_in"]

    kinds = [
        check_file(save_sd(tmp_path, unet_lora_layers=unet_factors("sd15", targets))).kind
        for targets in (convolutions, whole)
    ]

    assert kinds == [LoraKind.LOCON, LoraKind.FULL]


def test_sdxl_with_its_text_encoders_is_told(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    names = ["q_proj", "k_proj", "v_proj", "out_proj"]
    with torch.device("meta"):
        first = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(hidden_size=768, num_hidden_layers=1)
        )
        second = transformers.CLIPTextModelWithProjection(
            transformers.CLIPTextConfig(
                hidden_size=1280, num_hidden_layers=1, num_attention_heads=20
            )
        )
    path = save_sd(
        tmp_path,
        unet_lora_layers=unet_factors("sdxl", ATTENTION),
        text_encoder_lora_layers=factors_of(first, names),
        text_encoder_2_lora_layers=factors_of(second, names),
    )

    assert summary(check_file(path)) == ("sdxl", LoraKind.LORA, 2, LoraState.AVAILABLE)


def test_sd3_and_flux_are_told(tmp_path: Path) -> None:
    with torch.device("meta"):
        sd3 = diffusers.SD3Transformer2DModel(
            num_layers=1, num_attention_heads=24, caption_projection_dim=1536
        )
        flux = diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1)
    diffusers.StableDiffusion3Pipeline.save_lora_weights(
        tmp_path, factors_of(sd3, ATTENTION), weight_name="a.safetensors"
    )
    diffusers.FluxPipeline.save_lora_weights(
        tmp_path, factors_of(flux, ATTENTION), weight_name="b.safetensors"
    )

    found = [check_file(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]

    assert [summary(entry) for entry in found] == [
        ("sd3", LoraKind.LORA, 2, LoraState.AVAILABLE),
        ("flux", LoraKind.LORA, 2, LoraState.AVAILABLE),
    ]


@pytest.mark.parametrize(("use_dora", "kind"), [(False, LoraKind.LORA), (True, LoraKind.DORA)])
def test_what_peft_saves_is_told(use_dora: bool, kind: LoraKind, tmp_path: Path) -> None:
    unet = diffusers.UNet2DConditionModel(**UNETS["tiny"])
    config = peft.LoraConfig(r=4, target_modules=ATTENTION, use_dora=use_dora)
    peft.get_peft_model(unet, config).save_pretrained(tmp_path)

    entry = check_file(tmp_path / "adapter_model.safetensors")

    assert summary(entry) == ("tiny", kind, 4, LoraState.AVAILABLE), entry
    assert entry.scheme == "peft"


def test_adapter_metadata_of_diffusers_raises_no_alarm(tmp_path: Path) -> None:
    unet = diffusers.UNet2DConditionModel(**UNETS["tiny"])
    config = peft.LoraConfig(r=4, target_modules=[*ATTENTION, "ff.net.0.proj", "ff.net.2"])
    unet.add_adapter(config)
    state = peft_utils.get_peft_model_state_dict(unet)
    path = save_sd(tmp_path, unet_lora_layers=state, unet_lora_adapter_metadata=config.to_dict())

    entry = check_file(path.rename(tmp_path / "soft_tiny.safetensors"))

    assert entry.state is LoraState.AVAILABLE, entry
    catalog = Catalog(tmp_path, "tiny")
    catalog.scan()
    assert catalog.resolve("soft").sha256 == entry.sha256
