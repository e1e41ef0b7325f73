"""Whatever spelling a file has, every layer arrives at its module, with its own scale."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import (
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from shared.errors import LoraCorrupt
from shared.loras.check import check_file
from shared.loras.entry import LoraState
from worker.engine.lora.changes import Change, LowRank
from worker.engine.lora.lora_file import AdapterWeights, read_adapter

RANK, ALPHA = 4, 2.0
SCALE = ALPHA / RANK
UNET_LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
CONV_LAYER = "down_blocks.0.resnets.0.conv1"
TEXT_LAYERS = [
    f"encoder.layers.1.{name}"
    for name in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
]


class Writer(NamedTuple):
    """A way to name one layer's tensors: before the layer, in the layer, and behind it."""

    prefix: str
    separator: str
    down: str
    up: str
    alpha: str | None = None


KOHYA = Writer("lora_unet_", "_", ".lora_down.weight", ".lora_up.weight", ".alpha")
KOHYA_TEXT = KOHYA._replace(prefix="lora_te_text_model_")
PEFT = (".lora_A.weight", ".lora_B.weight")


def low_rank(change: Change) -> LowRank:
    assert isinstance(change, LowRank)
    return change


@pytest.fixture(scope="module")
def sd15() -> Any:
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=2)
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        encoder = CLIPTextModel(config)
    return SimpleNamespace(
        unet=unet, text_encoder=encoder, lora_state_dict=StableDiffusionPipeline.lora_state_dict
    )


@pytest.fixture(scope="module")
def sdxl() -> Any:
    small = {"intermediate_size": 3072, "num_hidden_layers": 2}
    large = {"intermediate_size": 5120, "num_hidden_layers": 2, "num_attention_heads": 20}
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            use_linear_projection=True,
        )
        first = CLIPTextModel(CLIPTextConfig(hidden_size=768, **small))
        second = CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=1280, **large))
    return SimpleNamespace(
        unet=unet,
        text_encoder=first,
        text_encoder_2=second,
        lora_state_dict=StableDiffusionXLPipeline.lora_state_dict,
    )


def layer_tensors(
    module: torch.nn.Module, layer: str, writer: Writer, name: str | None = None
) -> dict[str, torch.Tensor]:
    """Random factors for one layer of `module`, named `name` or as the module is."""
    shape = module.get_submodule(layer).weight.shape
    ones = [1] * len(shape[2:])
    stem = writer.prefix + (name or layer).replace(".", writer.separator)
    found = {
        stem + writer.down: torch.randn(RANK, *shape[1:]).half(),
        stem + writer.up: torch.randn(shape[0], RANK, *ones).half(),
    }
    if writer.alpha:
        found[stem + writer.alpha] = torch.tensor(ALPHA).half()
    return found


def read(pipeline: Any, tensors: dict[str, torch.Tensor], folder: Path) -> AdapterWeights:
    save_file(tensors, folder / "some.safetensors")
    entry = check_file(folder / "some.safetensors")
    assert entry.state is LoraState.AVAILABLE, entry
    return read_adapter(pipeline, entry)


@pytest.mark.parametrize(
    ("writer", "scale"),
    [
        (KOHYA, SCALE),
        (Writer("unet.", ".", *PEFT), 1.0),
        (Writer("base_model.model.", ".", *PEFT), 1.0),
        (Writer("base_model.model.", ".", ".lora_A.x.weight", ".lora_B.x.weight"), 1.0),
        (Writer("", ".", *PEFT), 1.0),
        (Writer("unet.", ".", ".lora.down.weight", ".lora.up.weight"), 1.0),
    ],
    ids=["kohya", "diffusers", "peft", "named adapter", "no prefix", "old diffusers"],
)
def test_a_unets_layer_arrives_from_every_spelling(
    sd15: Any, writer: Writer, scale: float, tmp_path: Path
) -> None:
    written = layer_tensors(sd15.unet, UNET_LAYER, writer)

    found = read(sd15, written, tmp_path)

    assert list(found.parts) == ["unet"]
    assert list(found.parts["unet"]) == [UNET_LAYER]
    pair = low_rank(found.parts["unet"][UNET_LAYER])
    down, up, *_ = written.values()
    assert torch.equal(pair.down, down)
    assert torch.equal(pair.up, up)
    assert pair.scale == scale


@pytest.mark.parametrize(
    "writer",
    [KOHYA, Writer("diffusion_model.", ".", *PEFT)],
    ids=["kohya", "comfy"],
)
def test_the_original_names_of_a_unets_blocks_are_told(
    sdxl: Any, writer: Writer, tmp_path: Path
) -> None:
    original = "input_blocks.4.1.transformer_blocks.0.attn2.to_k"

    found = read(sdxl, layer_tensors(sdxl.unet, UNET_LAYER, writer, original), tmp_path)

    assert {part: list(pairs) for part, pairs in found.parts.items()} == {"unet": [UNET_LAYER]}


def test_convolutions_arrive_as_convolutions(sd15: Any, tmp_path: Path) -> None:
    written = layer_tensors(sd15.unet, UNET_LAYER, KOHYA) | layer_tensors(
        sd15.unet, CONV_LAYER, KOHYA
    )

    found = read(sd15, written, tmp_path).parts["unet"]

    pair = low_rank(found[CONV_LAYER])
    assert pair.down.shape == (RANK, 320, 3, 3)


def test_every_layer_of_a_text_encoder_keeps_its_alpha(sd15: Any, tmp_path: Path) -> None:
    written: dict[str, torch.Tensor] = {}
    for layer in TEXT_LAYERS:
        written |= layer_tensors(sd15.text_encoder, layer, KOHYA_TEXT)

    found = read(sd15, written, tmp_path).parts["text_encoder"]

    assert {layer: low_rank(pair).scale for layer, pair in found.items()} == dict.fromkeys(
        TEXT_LAYERS, SCALE
    )


def test_both_text_encoders_of_sdxl_find_their_layers(sdxl: Any, tmp_path: Path) -> None:
    """transformers 5 nests the layers of one of the two classes under `text_model`."""
    written = layer_tensors(sdxl.unet, UNET_LAYER, KOHYA)
    for number, encoder in ((1, sdxl.text_encoder), (2, sdxl.text_encoder_2)):
        writer = KOHYA._replace(prefix=f"lora_te{number}_text_model_")
        inner = getattr(encoder, "text_model", encoder)
        for layer in TEXT_LAYERS:
            written |= layer_tensors(inner, layer, writer)

    found = read(sdxl, written, tmp_path).parts

    assert sorted(found["text_encoder"]) == sorted(TEXT_LAYERS)
    assert sorted(found["text_encoder_2"]) == sorted(f"text_model.{x}" for x in TEXT_LAYERS)
    scales = {
        low_rank(pair).scale
        for part in ("text_encoder", "text_encoder_2")
        for pair in found[part].values()
    }
    assert scales == {SCALE}


def test_a_layer_of_another_width_is_corrupt(sd15: Any, tmp_path: Path) -> None:
    written = layer_tensors(sd15.unet, UNET_LAYER, KOHYA)
    up = next(key for key in written if key.endswith("lora_up.weight"))
    written[up] = torch.zeros(641, RANK).half()

    with pytest.raises(LoraCorrupt, match="does not fit this base"):
        read(sd15, written, tmp_path)


def test_a_layer_that_the_base_lacks_is_corrupt(sd15: Any, tmp_path: Path) -> None:
    written = layer_tensors(sd15.unet, UNET_LAYER, KOHYA)
    renamed = {key.replace("down_blocks_1", "down_blocks_7"): x for key, x in written.items()}

    with pytest.raises(LoraCorrupt):
        read(sd15, renamed, tmp_path)
