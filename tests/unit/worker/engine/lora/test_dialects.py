"""One LoRA, written in every dialect that can say it, gives the same weights."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from shared.errors import LoraCorrupt
from shared.loras.check import check_file
from shared.loras.modules import _Blocks
from shared.loras.plans import published_modules, text_shapes, unet_shapes
from tests.support.checkpoints import small_text, small_unet
from worker.engine.lora.lora_file import modules_of_pipeline, read_adapter

KOHYA, PEFT = (".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight")
OLD, OLD_TEXT = (".lora.down.weight", ".lora.up.weight"), (
    ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"
)  # fmt: skip
PROCESSOR = ("_lora.down.weight", "_lora.up.weight")


class Dialect(NamedTuple):
    """How a part's modules are named before and behind their path; no part: it cannot say it."""

    parts: dict[str, str]
    ends: tuple[str, str]
    is_flat: bool = False
    is_original: bool = False
    text_ends: tuple[str, str] | None = None
    has_alpha: bool = True


def texts(first: str, second: str) -> dict[str, str]:
    return {"text_encoder": first, "text_encoder_2": second}


FLAT = texts("lora_te1_text_model_", "lora_te2_text_model_")
DIALECTS = {
    "kohya": Dialect({"unet": "lora_unet_", **FLAT}, KOHYA, is_flat=True),
    "kohya, original ids": Dialect({"unet": "lora_unet_", **FLAT}, KOHYA, True, True),
    "kohya, dotted": Dialect({"unet": "lora_unet."}, KOHYA),
    "onetrainer": Dialect(
        {"unet": "lora_unet.", **texts("lora_te1.text_model.", "lora_te2.text_model.")}, KOHYA
    ),
    "omi": Dialect(
        {"unet": "unet.", **texts("clip_l.text_model.", "clip_g.text_model.")}, KOHYA, False, True
    ),
    "diffusers": Dialect(
        {"unet": "unet.", **texts("text_encoder.text_model.", "text_encoder_2.text_model.")}, PEFT
    ),
    "diffusers, before PEFT": Dialect(
        {"unet": "unet.", **texts("text_encoder.text_model.", "text_encoder_2.text_model.")},
        OLD,
        text_ends=OLD_TEXT,
    ),
    "diffusers, without text_model": Dialect(
        {"unet": "unet.", **texts("text_encoder.", "text_encoder_2.")}, PEFT
    ),
    "bare": Dialect({"unet": ""}, PEFT),
    "peft": Dialect({"unet": "base_model.model."}, PEFT),
    "peft under the part": Dialect(
        {"unet": "base_model.model.unet.", **texts("base_model.model.text_encoder.text_model.",
         "base_model.model.text_encoder_2.text_model.")}, PEFT),
    "a named adapter": Dialect({"unet": "base_model.model."}, (
        ".lora_A.default.weight", ".lora_B.default.weight")),
    "comfy": Dialect({"unet": "diffusion_model.", **texts(
        "text_encoders.clip_l.transformer.text_model.",
        "text_encoders.clip_g.transformer.text_model.")}, PEFT, False, True),
    "comfy, diffusers' ids": Dialect({"unet": "diffusion_model."}, PEFT),
    "lycoris": Dialect({"unet": "lycoris_"}, KOHYA, True),
    "compiled": Dialect({"unet": "unet._orig_mod.", **texts(
        "text_encoder._orig_mod.text_model.", "text_encoder_2._orig_mod.text_model.")}, PEFT),
    "the part named twice": Dialect(
        {"unet": "lora_unet_model_diffusion_model_"}, KOHYA, True, True),
    "inside a module": Dialect({"unet": "module.unet.", **texts(
        "module.text_encoder.", "module.text_encoder_2.")}, PEFT),
    "flat, without the part": Dialect({"unet": "lora_"}, KOHYA, True),
    "lora layers": Dialect(
        {"unet": "unet."}, (".lora_layer.down.weight", ".lora_layer.up.weight")),
    "an adapter named with a dash": Dialect({"unet": "base_model.model."}, (
        ".lora_A.my-style.weight", ".lora_B.my-style.weight")),
    "parameters without a name": Dialect({"unet": "unet."}, (".lora_down", ".lora_up")),
}  # fmt: skip


def pipeline(family: str) -> Any:
    width = {"sd15": 768, "sd21": 1024, "sdxl": 2048}[family]
    unet = small_unet(width, use_linear_projection=family != "sd15", layers_per_block=2)
    first = CLIPTextModel(small_text(768 if family == "sdxl" else width))
    if family != "sdxl":
        return SimpleNamespace(unet=unet, text_encoder=first)
    second = CLIPTextModelWithProjection(small_text(1280))
    return SimpleNamespace(unet=unet, text_encoder=first, text_encoder_2=second)


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def base(request: pytest.FixtureRequest) -> Any:
    return pipeline(request.param)


def layers_of(base: Any) -> Iterator[tuple[str, str, torch.Size]]:
    for part, network in vars(base).items():
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
                yield part, name, module.weight.shape


def write(base: Any, dialect: Dialect, drawn: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The drawn factors in a dialect's names."""
    blocks = _Blocks([name for part, name, _ in layers_of(base) if part == "unet"])
    found: dict[str, Any] = {}
    for (part, module), (down, up, alpha) in drawn.items():
        path = blocks.original(module) if dialect.is_original and part == "unet" else module
        assert path is not None
        path = path.removeprefix("text_model.") if part != "unet" else path
        stem = dialect.parts[part] + (path.replace(".", "_") if dialect.is_flat else path)
        ends = dialect.text_ends if dialect.text_ends and part != "unet" else dialect.ends
        found |= {stem + ends[0]: down, stem + ends[1]: up, f"{stem}.alpha": alpha}
    return found


def factors(shape: torch.Size, rank: int, is_square: bool) -> tuple[Any, Any, Any]:
    """The factors of one layer; those of a linear one may be written as a convolution's."""
    ones = [1] * (2 if len(shape) == 4 or is_square else 0)
    kernel = list(shape[2:]) or ones
    down, up = torch.randn(rank, shape[1], *kernel), torch.randn(shape[0], rank, *ones)
    if len(shape) == 4 and is_square and kernel == [1, 1]:
        down, up = down.flatten(1), up.flatten(1)
    return down, up, torch.tensor(rank / 2)


RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("name", DIALECTS)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 5), is_square=st.booleans())
@settings(max_examples=3, **RELAXED)  # type: ignore[arg-type]
def test_every_dialect_gives_the_same_weights(
    name: str, base: Any, tmp_path: Path, seed: int, rank: int, is_square: bool
) -> None:
    torch.manual_seed(seed)
    dialect = DIALECTS[name]
    able = [layer for layer in layers_of(base) if layer[0] in dialect.parts]
    some = [able[int(i)] for i in torch.randperm(len(able))[:12]]
    drawn = {(part, module): factors(shape, rank, is_square) for part, module, shape in some}

    save_file(write(base, dialect, drawn), tmp_path / "some.safetensors")
    found = read_adapter(base, check_file(tmp_path / "some.safetensors")).parts

    assert {(p, m) for p, changes in found.items() for m in changes} == set(drawn)
    for (part, module), (down, up, _) in drawn.items():
        weight = getattr(base, part).get_parameter(f"{module}.weight")
        expected = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * 0.5
        torch.testing.assert_close(found[part][module].delta(weight), expected)


@pytest.mark.parametrize("name", ["lora_alpha", "network_alpha"])
def test_an_alpha_under_another_name_scales_its_layer(name: str, base: Any, tmp_path: Path) -> None:
    module = "down_blocks.0.attentions.0.proj_in"
    down, up, _ = factors(base.unet.get_parameter(f"{module}.weight").shape, 2, is_square=False)
    named = write(base, DIALECTS["diffusers"], {("unet", module): (down, up, torch.tensor(1.0))})
    renamed = {key.replace(".alpha", f".{name}"): tensor for key, tensor in named.items()}
    save_file(renamed, tmp_path / "some.safetensors")

    change = read_adapter(base, check_file(tmp_path / "some.safetensors")).parts["unet"][module]

    assert change.scale == 0.5  # type: ignore[attr-defined]


def test_the_oldest_names_of_diffusers_are_read(base: Any, tmp_path: Path) -> None:
    stem = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    shape = base.unet.get_parameter(f"{stem}.to_out.0.weight").shape
    down, up, _ = factors(shape, 2, is_square=False)
    text = "encoder.layers.0.self_attn."
    named = {
        f"unet.{stem}.processor.to_out{PROCESSOR[0]}": down,
        f"unet.{stem}.processor.to_out{PROCESSOR[1]}": up,
    }
    width = base.text_encoder.config.hidden_size
    for end, shape_of in zip(PROCESSOR, ((2, width), (width, 2)), strict=True):
        named[f"text_encoder.text_model.{text}to_q{end}"] = torch.randn(shape_of)
    save_file(named, tmp_path / "some.safetensors")

    found = read_adapter(base, check_file(tmp_path / "some.safetensors")).parts

    assert list(found["unet"]) == [f"{stem}.to_out.0"]
    assert [name.removeprefix("text_model.") for name in found["text_encoder"]] == [f"{text}q_proj"]


def test_two_dialects_in_one_file_both_land_and_one_layer_in_both_lands_twice(
    base: Any, tmp_path: Path
) -> None:
    part, module, shape = next(layer for layer in layers_of(base) if len(layer[2]) == 2)
    _, other, other_shape = [layer for layer in layers_of(base) if len(layer[2]) == 2][5]
    one, two, three = (factors(x, 2, is_square=False) for x in (shape, shape, other_shape))
    tensors = write(base, DIALECTS["kohya"], {(part, module): one, ("unet", other): three})
    tensors |= write(base, DIALECTS["diffusers"], {(part, module): two})
    save_file(tensors, tmp_path / "some.safetensors")

    found = read_adapter(base, check_file(tmp_path / "some.safetensors")).parts[part]

    weight = base.unet.get_parameter(f"{module}.weight")
    both = sum(up.flatten(1) @ down.flatten(1) * 0.5 for down, up, _ in (one, two))
    torch.testing.assert_close(found[module].delta(weight), both.reshape(weight.shape))
    assert set(found) == {module, other}


# How the original code numbers SDXL's and SD 1.5's blocks, as kohya's and OMI's files have it.
ORIGINAL: dict[str, dict[str, str]] = {
    "sdxl": {
        "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks_4_1_proj_in": "down_blocks.1.attentions.0.proj_in",
        "input_blocks_8_1_transformer_blocks_9_attn2_to_k":
            "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k",
        "middle_block_1_proj_out": "mid_block.attentions.0.proj_out",
        "middle_block_2_out_layers_3": "mid_block.resnets.1.conv2",
        "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_5_1_proj_in": "up_blocks.1.attentions.2.proj_in",
        "output_blocks_8_0_skip_connection": "up_blocks.2.resnets.2.conv_shortcut",
        "label_emb_0_2": "add_embedding.linear_2",
    },
    "sd15": {
        "input_blocks_1_1_proj_in": "down_blocks.0.attentions.0.proj_in",
        "input_blocks_10_0_in_layers_2": "down_blocks.3.resnets.0.conv1",
        "input_blocks_11_0_emb_layers_1": "down_blocks.3.resnets.1.time_emb_proj",
        "output_blocks_2_1_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_3_1_proj_in": "up_blocks.1.attentions.0.proj_in",
        "output_blocks_11_1_proj_out": "up_blocks.3.attentions.2.proj_out",
        "out_2": "conv_out",
    },
}  # fmt: skip


@pytest.mark.parametrize("family", ORIGINAL)
def test_original_ids_are_those_of_the_published_checkpoints(family: str) -> None:
    modules = published_modules(family)
    assert modules is not None
    assert {path: modules.find("unet", path) for path in ORIGINAL[family]} == ORIGINAL[family]


def test_the_gateways_modules_are_the_workers(base: Any) -> None:
    real = modules_of_pipeline(base)
    config = {key: value for key, value in base.unet.config.items() if value is not None}
    assert dict(unet_shapes(config) or {}) == real._parts["unet"]
    known = text_shapes(base.text_encoder.config.to_dict())
    ours = {re.sub("^text_model.", "", n): s for n, s in real._parts["text_encoder"].items()}
    assert dict(known).items() <= ours.items()


Fault = Callable[[dict[str, Any]], dict[str, Any]]
FAULTS: dict[str, Fault] = {
    "a block that the base lacks": lambda tensors: {
        name.replace("blocks_0", "blocks_10"): tensor for name, tensor in tensors.items()
    },
    "another width": lambda tensors: {
        name: tensor[:-1] if "up" in name else tensor for name, tensor in tensors.items()
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_has_no_place_is_an_error_with_the_tensors_name(fault: str, tmp_path: Path) -> None:
    base = pipeline("sd15")
    module = "down_blocks.0.attentions.0.proj_in"
    shape = base.unet.get_parameter(f"{module}.weight").shape
    drawn = {("unet", module): factors(shape, 2, is_square=False)}
    tensors = FAULTS[fault](write(base, DIALECTS["kohya"], drawn))
    save_file(tensors, tmp_path / "some.safetensors")

    with pytest.raises(LoraCorrupt) as caught:
        read_adapter(base, check_file(tmp_path / "some.safetensors"))

    assert caught.value.layer in tensors
