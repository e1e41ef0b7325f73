"""Every kind of file in the wild: its base, kind, rank and verdict, and the words for it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from shared.loras.catalog import Catalog
from shared.loras.check import check_file
from shared.loras.entry import LoraKind, LoraState
from shared.loras.origin import claim_of_name, shorten
from tests.unit.loras.lora_files import (
    KOHYA,
    SDXL_KOHYA_METADATA,
    Spec,
    Specs,
    diffusers_block,
    kohya,
    kohya_block,
    kohya_encoder,
    merge,
    pair,
    sd15_specs,
    sdxl_specs,
    tiny_specs,
    write_lora,
)

AVAILABLE, QUARANTINED, INCOMPATIBLE = LoraState
OLD_NAMES = (".lora.down.weight", ".lora.up.weight")
PROCESSOR_NAMES = ("_lora.down.weight", "_lora.up.weight")
_RESNET = "lora_unet_down_blocks_0_resnets_0_"
K15 = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


class Case(NamedTuple):
    specs: Callable[[], Specs]
    base: str
    kind: LoraKind = LoraKind.LORA
    rank: int | None = 4
    state: LoraState = AVAILABLE
    reason: str = ""
    name: str = "a_lora"
    metadata: Mapping[str, str] = MappingProxyType({})
    evidence: str = ""


def _sd15_kohya() -> Specs:
    return merge(
        [kohya_block("down_blocks_0_attentions_0", 320, 768), kohya_encoder("lora_te", 768)]
    )


def _locon() -> Specs:
    conv = kohya("lora_unet_down_blocks_0_resnets_0_conv1", 320, kernel=3, rank=2)
    return merge([_sd15_kohya(), conv])


def _lcm_of_rank(rank: int) -> Specs:
    return merge(
        [
            kohya_block("down_blocks_0_attentions_0", 320, 768, rank=rank),
            kohya(_RESNET + "conv1", 320, kernel=3, rank=rank),
            kohya(_RESNET + "time_emb_proj", 1280, 320, rank=rank),
        ]
    )


def _lcm() -> Specs:
    return _lcm_of_rank(8)


def _wide_locon() -> Specs:
    """The layers of LCM-LoRA, but convolutions have a rank of their own."""
    return merge([_lcm_of_rank(4), kohya(_RESNET + "conv1", 320, kernel=3, rank=2)])


def _loha() -> Specs:
    shapes = {"w1_a": (320, 6), "w1_b": (6, 768), "w2_a": (320, 6), "w2_b": (6, 768)}
    factors = {f"{K15}.hada_{part}": Spec(shape) for part, shape in shapes.items()}
    return {**factors, f"{K15}.alpha": Spec(())}


def _lokr() -> Specs:
    return {
        f"{K15}.lokr_w1": Spec((16, 16)),
        f"{K15}.lokr_w2_a": Spec((20, 5)),
        f"{K15}.lokr_w2_b": Spec((5, 48)),
        f"{K15}.alpha": Spec(()),
    }


def _glora() -> Specs:
    sizes = {"a1": (768, 4), "a2": (4, 768), "b1": (320, 4), "b2": (4, 768)}
    return {f"{K15}.{part}.weight": Spec(size) for part, size in sizes.items()}


def _dora() -> Specs:
    return {**kohya(K15, 768, 320), f"{K15}.dora_scale": Spec((320, 1))}


def _sd3() -> Specs:
    stem = "transformer.transformer_blocks.0.attn."
    return merge(pair(stem + x, 1536) for x in ("to_q", "to_k", "add_k_proj"))


def _flux() -> Specs:
    return merge(
        [
            pair("transformer.transformer_blocks.0.attn.to_q", 3072),
            pair("transformer.single_transformer_blocks.37.proj_mlp", 3072, 12288),
        ]
    )


def _flux_kohya() -> Specs:
    return merge(
        [
            kohya("lora_unet_double_blocks_0_img_attn_qkv", 3072, 9216),
            kohya("lora_unet_single_blocks_0_linear1", 3072, 21504),
            kohya_encoder("lora_te1", 768),
        ]
    )


def _sd3_kohya() -> Specs:
    return kohya("lora_unet_joint_blocks_0_context_block_attn_qkv", 1536, 4608)


def _qwen_image() -> Specs:
    stem = "transformer.transformer_blocks.59."
    return merge([pair(stem + "attn.to_q", 3072), pair(stem + "img_mlp.net.0.proj", 3072, 12288)])


def _qwen_attention() -> Specs:
    return merge(pair(f"transformer_blocks.{n}.attn.to_q", 3072) for n in range(60))


def _video_model() -> Specs:
    return merge(pair(f"diffusion_model.blocks.{n}.self_attn.q", 1536) for n in range(30))


def _self_attention_only() -> Specs:
    return pair("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 640)


def _language_model() -> Specs:
    return pair("base_model.model.model.layers.0.self_attn.q_proj", 4096)


SDXL_BY_METADATA = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}

CASES = {
    "sd15 diffusers": Case(sd15_specs, "sd15", evidence="cross-attention reads 768 features"),
    "sd15 diffusers, older names": Case(
        lambda: pair("unet.mid_block.attentions.0.attn2.to_k", 768, 1280, names=OLD_NAMES), "sd15"
    ),
    "sd15 diffusers, oldest names": Case(
        lambda: pair(
            "unet.mid_block.attentions.0.attn2.processor.to_k", 768, 1280, names=PROCESSOR_NAMES
        ),
        "sd15",
    ),
    "sd15 peft": Case(
        lambda: pair("base_model.model.mid_block.attentions.0.attn2.to_k", 768, 1280), "sd15"
    ),
    "sd15 kohya with text encoder and alphas": Case(_sd15_kohya, "sd15"),
    "sd15 locon": Case(_locon, "sd15", LoraKind.LOCON),
    "sd15 whole unet, as LCM-LoRA": Case(_lcm, "sd15", LoraKind.FULL, 8),
    "sd21": Case(lambda: diffusers_block("down_blocks.0.attentions.0", 320, 1024), "sd21"),
    "sdxl kohya, default metadata": Case(sdxl_specs, "sdxl", metadata=SDXL_KOHYA_METADATA),
    "sdxl diffusers": Case(
        lambda: merge(
            [
                diffusers_block("down_blocks.1.attentions.0", 640, 2048),
                pair("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", 1280),
            ]
        ),
        "sdxl",
    ),
    "sd3": Case(_sd3, "sd3"),
    "sd3 kohya": Case(_sd3_kohya, "sd3"),
    "flux": Case(_flux, "flux"),
    "flux kohya": Case(_flux_kohya, "flux"),
    "tiny": Case(lambda: tiny_specs(rank=16), "tiny", rank=16, name="a_lora_tiny"),
    "loha": Case(_loha, "sd15", LoraKind.LOHA, 6),
    "lokr": Case(_lokr, "sd15", LoraKind.LOKR, 5),
    "dora": Case(_dora, "sd15", LoraKind.DORA, 4),
    "full difference": Case(
        lambda: {f"{K15}.diff": Spec((320, 768))},
        "sd15",
        LoraKind.FULL,
        None,
    ),
    "glora": Case(_glora, "sd15", LoraKind.GLORA, 4),
    "oft": Case(
        lambda: {f"{K15}.oft_blocks": Spec((80, 4, 4)), f"{K15}.alpha": Spec(())},
        "unknown",
        LoraKind.OFT,
        None,
        INCOMPATIBLE,
        "Its tensors fit SD 1.5 or SD 2.1",
    ),
    "an alpha without its layer": Case(lambda: {**sd15_specs(), f"{K15}.alpha": Spec(())}, "sd15"),
    "alphas that are whole numbers": Case(
        lambda: {**kohya(K15, 768, 320), f"{K15}.alpha": Spec((), "I64")}, "sd15"
    ),
    "a bundle with an embedding": Case(
        lambda: {**sd15_specs(), "bundle_emb.水彩.string_to_param": Spec((4, 768))},
        "sd15",
        evidence="not used: bundle_emb.水彩.string_to_param",
    ),
    "an embedding alone": Case(
        lambda: {"emb_params": Spec((4, 768))},
        "unknown",
        LoraKind.UNKNOWN,
        None,
        INCOMPATIBLE,
        "It is a textual inversion embedding",
    ),
    "an author's own version number": Case(sdxl_specs, "sdxl", name="poster_v2.1"),
    "FLUX.2 by its metadata": Case(
        lambda: pair("transformer.transformer_blocks.0.attn.to_q", 3072),
        "unknown",
        state=INCOMPATIBLE,
        metadata={"modelspec.architecture": "flux-2-klein-4b/lora"},
        evidence="modelspec.architecture says flux-2-klein-4b/lora",
    ),
    "FLUX.2 by its blocks": Case(
        lambda: merge(
            [
                pair("diffusion_model.double_blocks.4.img_attn.qkv", 3072, 9216),
                pair("diffusion_model.single_blocks.19.linear2", 12288, 3072),
            ]
        ),
        "unknown",
        state=INCOMPATIBLE,
        evidence="it has 5 double and 20 single blocks: no known base",
    ),
    "two dialects in one file": Case(
        lambda: {**sd15_specs(), **kohya_encoder("lora_te", 768)}, "sd15"
    ),
    "SD 2.1 with four-dimensional factors for linear layers": Case(
        lambda: merge(
            [
                pair("unet.down_blocks.0.attentions.0.proj_in", 320, kernel=1),
                diffusers_block("down_blocks.0.attentions.0", 320, 1024),
            ]
        ),
        "sd21",
    ),
    "decomposed convolution": Case(
        lambda: {
            **_sd15_kohya(),
            **kohya(_RESNET + "conv1", 320, kernel=1, rank=2),
            f"{_RESNET}conv1.lora_mid.weight": Spec((2, 2, 3, 3)),
        },
        "sd15",
        LoraKind.LOCON,
        4,
    ),
    "metadata missing, shapes open": Case(
        _self_attention_only,
        "unknown",
        state=INCOMPATIBLE,
        reason="Its tensors fit SD 1.5 or SD 2.1 or SDXL equally, and neither metadata nor name",
    ),
    "metadata decides what shapes leave open": Case(
        _self_attention_only, "sdxl", metadata=SDXL_BY_METADATA
    ),
    "kohya version decides what shapes leave open": Case(
        _self_attention_only, "sd15", metadata={"ss_base_model_version": "sd_v1"}
    ),
    "ss_v2 decides what shapes leave open": Case(
        _self_attention_only, "sd21", metadata={"ss_v2": "True"}
    ),
    "the name decides what the rest leaves open": Case(
        _self_attention_only, "sd15", name="soft_skin_v1.5"
    ),
    "metadata contradicts shapes": Case(
        sd15_specs,
        "sd15",
        metadata=SDXL_BY_METADATA,
        evidence="modelspec.architecture says SDXL, overruled: the tensors say SD 1.5",
    ),
    "name contradicts shapes": Case(
        sd15_specs,
        "sd15",
        name="product_lighting_sdxl",
        evidence="the name's tag sdxl, overruled: the tensors say SD 1.5",
    ),
    "name and metadata contradict shapes": Case(
        sd15_specs,
        "sd15",
        state=QUARANTINED,
        reason="Its name says SDXL, but its tensors fit SD 1.5. Rename it.",
        name="product_lighting_sdxl",
        metadata=SDXL_BY_METADATA,
    ),
    "shapes contradict each other": Case(
        lambda: merge([sd15_specs(), diffusers_block("mid_block.attentions.0", 1280, 2048)]),
        "unknown",
        state=INCOMPATIBLE,
        evidence="the tensors fit no supported base",
    ),
    "a younger model of FLUX' width": Case(_qwen_image, "unknown", state=INCOMPATIBLE),
    "more blocks than FLUX has, of its width": Case(_qwen_attention, "unknown", state=INCOMPATIBLE),
    "a video model's, under the UNet's prefix": Case(
        _video_model, "unknown", state=INCOMPATIBLE, reason="Its base is unknown"
    ),
    "a language model's": Case(_language_model, "unknown", state=INCOMPATIBLE),
    "a checkpoint, not a LoRA": Case(
        lambda: {"model.diffusion_model.input_blocks.0.0.weight": Spec((320, 4, 3, 3))},
        "unknown",
        LoraKind.UNKNOWN,
        None,
        INCOMPATIBLE,
        "It is a whole base checkpoint, not a LoRA",
    ),
    "flux in its makers' names": Case(
        lambda: pair("diffusion_model.double_blocks.0.img_attn.qkv", 3072, 9216), "flux"
    ),
    "sd3 in its makers' names": Case(
        lambda: pair("joint_blocks.0.x_block.attn.qkv", 1536, 4608, names=KOHYA), "sd3"
    ),
    "names of no known scheme": Case(
        lambda: pair("unet_mid_block.attn2.to_k", 768, 320),
        "sd15",
        state=INCOMPATIBLE,
        reason="Its tensors follow no naming scheme",
    ),
    "a UNet's own names": Case(
        lambda: pair("down_blocks.0.attentions.0.attn2.to_k", 768, 320), "sd15"
    ),
    "ComfyUI's names": Case(
        lambda: pair("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k", 2048, 640),
        "sdxl",
    ),
    "a named adapter": Case(
        lambda: pair(
            "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
            64,
            128,
            names=(".lora_A.default.weight", ".lora_B.default.weight"),
        ),
        "tiny",
    ),
    "sd15 kohya, text encoder alone": Case(lambda: kohya_encoder("lora_te", 768), "sd15"),
    "text encoders of SDXL or SD 3": Case(
        lambda: merge([kohya_encoder("lora_te1", 768), kohya_encoder("lora_te2", 1280)]),
        "unknown",
        state=INCOMPATIBLE,
        reason="Its tensors fit SD 3 or SDXL equally",
    ),
    "sd15 locon over every layer": Case(_wide_locon, "sd15", LoraKind.LOCON),
    "sd15 locon by its trainer's setting": Case(
        _lcm,
        "sd15",
        LoraKind.LOCON,
        8,
        metadata={"ss_network_args": '{"conv_dim": "8", "conv_alpha": "4"}'},
    ),
    "F8 weights": Case(
        lambda: pair(
            K15, 768, 320, names=(".lora_down.weight", ".lora_up.weight"), dtype="F8_E4M3"
        ),
        "sd15",
    ),
    "weights that are whole numbers": Case(
        lambda: pair(K15, 768, 320, names=KOHYA, dtype="I64"),
        "sd15",
        state=INCOMPATIBLE,
        reason="Its weights are stored as I64",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_file_is_told_by_its_header(case: Case, tmp_path: Path) -> None:
    path = write_lora(tmp_path / f"{case.name}.safetensors", case.specs(), case.metadata)

    entry = check_file(path)

    assert (entry.base, entry.kind, entry.rank, entry.state) == (
        case.base,
        case.kind,
        case.rank,
        case.state,
    ), entry
    assert case.reason in (entry.reason or "")
    assert (entry.reason is None) == (entry.reason_zh is None) == (entry.state is AVAILABLE)
    assert case.evidence in "\n".join(entry.evidence)


@pytest.mark.parametrize(
    ("running", "sentence"),
    [
        ("tiny", "Made for FLUX; this service runs retouch tiny."),
        ("flux", "Its tensors are named as in comfy, which this service does not support"),
    ],
)
def test_another_base_is_said_before_names_that_nobody_reads(
    running: str, sentence: str, tmp_path: Path
) -> None:
    module = "diffusion_model.double_blocks.0.img_attn.qkv"
    write_lora(tmp_path / "poster.safetensors", pair(module, 3072, 9216))
    catalog = Catalog(tmp_path, running)

    catalog.scan()

    assert sentence in (catalog.entries()[0].reason or "")


def test_bases_lists_what_the_shapes_leave_open(tmp_path: Path) -> None:
    entry = check_file(write_lora(tmp_path / "open.safetensors", _self_attention_only()))

    assert entry.bases == ["sd15", "sd21", "sdxl"]


@pytest.mark.parametrize(
    ("stem", "short", "tag"),
    [
        ("face_restore_v1.5", "face_restore", "sd15"),
        ("face_restore_v1-5", "face_restore", "sd15"),
        ("face_restore_sd15", "face_restore", "sd15"),
        ("face_restore-SD1.5", "face_restore", "sd15"),
        ("product_lighting_sdxl", "product_lighting", "sdxl"),
        ("product_lighting_xl", "product_lighting", "sdxl"),
        ("face_restore_tiny", "face_restore", "tiny"),
        ("poster_sd2.1", "poster", "sd21"),
        ("poster_flux", "poster", "flux"),
        ("poster_sd3.5", "poster", "sd3"),
        ("sdxl_poster_final", "sdxl_poster_final", "sdxl"),
        ("tiny_house", "tiny_house", None),
        ("poster_v2", "poster_v2", None),
        ("flux_capacitor", "flux_capacitor", None),
        ("sdxl", "sdxl", "sdxl"),
        ("v1.5", "v1.5", "sd15"),
        ("product_sdxl1.0", "product", "sdxl"),
        ("product_flux1-dev", "product_flux1-dev", "flux"),
        ("product_flux_dev", "product_flux_dev", "flux"),
        ("product_SDXL_v1.5", "product_SDXL_v1.5", "sdxl"),
        ("product_sd15_v2.1", "product_sd15_v2.1", "sd15"),
        ("retouch.sdxl.final", "retouch.sdxl.final", "sdxl"),
        ("xsdxl", "xsdxl", None),
    ],
)
def test_a_name_is_read_for_its_base_tag(stem: str, short: str, tag: str | None) -> None:
    claim = claim_of_name(stem)

    assert shorten(stem) == short
    assert (claim.base.id if claim else None) == tag


def test_diffusers_own_metadata_is_not_taken_for_addresses(tmp_path: Path) -> None:
    adapter = {"unet.target_modules": ["ff.net.0.proj", "ff.net.2", "to_out.0"], "unet.r": 4}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(adapter, indent=2)}

    entry = check_file(write_lora(tmp_path / "a_tiny.safetensors", tiny_specs(), metadata))

    assert entry.state is AVAILABLE
