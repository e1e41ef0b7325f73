"""The parameters of a base's networks, by name and shape, from their configuration alone.

A checkpoint's folder has `unet/config.json` and `text_encoder*/config.json`; for bases known only
by a hub id, their families' published ones are used. Follows the structure of
diffusers' UNet2DConditionModel and of transformers' CLIPTextModel. Reads no weights.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from shared.bases import identify_base
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.folder import read_config
from shared.checkpoints.places import find_checkpoint
from shared.checkpoints.published import FAMILIES, Config, published_configs
from shared.loras.autoencoder_plan import autoencoder_shapes
from shared.loras.dialects import TEXT_ENCODER, TEXT_ENCODER_2, UNET, VAE
from shared.loras.modules import Modules, Shape, Shapes, layer_shapes, resnet_shapes

_DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
_UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
_UNET_DEFAULTS: Config = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": _DOWN,
    "up_block_types": _UP,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "use_linear_projection": False,
}
# Values that diffusers writes into every UNet's configuration, and that hand-made ones may lack.
_SAID = frozenset({"block_out_channels", "down_block_types", "up_block_types", "layers_per_block"})
_KNOWN_BLOCKS = {"CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"}
EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "tiny"
_PARTS = (UNET, TEXT_ENCODER, TEXT_ENCODER_2, VAE)


def modules_of(base_model: str) -> Modules | None:
    """The modules of a base: the folder's own, or its family's; None if neither is known."""
    try:
        place = find_checkpoint(base_model)
    except BadCheckpoint:
        return None
    configs = _read_configs(place) if place is not None and place.is_dir() else {}
    if UNET in configs:
        return _own_modules(configs)
    return published_modules(identify_base(base_model).id)


def known_modules(base_model: str) -> dict[str, Modules]:
    """The modules of every family that has known ones: this base's own, those of the embedded base,
    and those of the families' published checkpoints.
    """
    published = {base: modules for base in FAMILIES if (modules := published_modules(base))}
    for model in (str(EMBEDDED), base_model):
        own = modules_of(model)
        if own is not None:
            published[identify_base(model).id] = own
    return published


def _own_modules(configs: dict[str, Config]) -> Modules | None:
    """The modules of a checkpoint's folder; None if its configuration is incomplete."""
    if not configs[UNET].keys() >= _SAID:
        return None
    try:
        return _modules(configs)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


@cache
def published_modules(base: str) -> Modules | None:
    """The modules of a family's published checkpoint."""
    if base not in FAMILIES:
        return None
    configs = published_configs(base)
    return _modules({part: configs[part] for part in _PARTS if part in configs})


def _modules(configs: dict[str, Config]) -> Modules | None:
    unet = unet_shapes(configs[UNET])
    if unet is None:
        return None
    others = {part: _shapes(part, config) for part, config in configs.items() if part != UNET}
    return Modules({UNET: unet, **others})


def _shapes(part: str, config: Config) -> Shapes:
    return autoencoder_shapes(config) if part == VAE else text_shapes(config)


def _read_configs(folder: Path) -> dict[str, Config]:
    found = {part: read_config(folder / part / "config.json") for part in _PARTS}
    return {part: dict(config) for part, config in found.items() if config}


def unet_shapes(config: Config) -> Shapes | None:
    """Every parameter of a UNet; None if it consists of blocks unknown here."""
    full = {**_UNET_DEFAULTS, **config}
    blocks = {*full["down_block_types"], *full["up_block_types"]}
    known_middle = full["mid_block_type"] == _UNET_DEFAULTS["mid_block_type"]
    if not blocks <= _KNOWN_BLOCKS or not known_middle or full.get("only_cross_attention"):
        return None
    return dict(_Unet(full).parameters())


class _Unet:
    """One walk through a UNet's configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._channels: list[int] = list(config["block_out_channels"])
        count = len(self._channels)
        self._layers = _per_block(config["layers_per_block"], count)
        self._depths = _per_block(config["transformer_layers_per_block"], count)
        self._contexts = _per_block(config["cross_attention_dim"], count)
        self._time = self._channels[0] * 4

    def parameters(self) -> Iterator[tuple[str, Shape]]:
        first = self._channels[0]
        yield from layer_shapes("conv_in", first, self._config["in_channels"], 3, 3)
        yield from layer_shapes("time_embedding.linear_1", self._time, first)
        yield from layer_shapes("time_embedding.linear_2", self._time, self._time)
        if self._config.get("addition_embed_type") == "text_time":
            width = self._config["projection_class_embeddings_input_dim"]
            yield from layer_shapes("add_embedding.linear_1", self._time, width)
            yield from layer_shapes("add_embedding.linear_2", self._time, self._time)
        yield from self._down()
        yield from self._middle()
        yield from self._up()
        yield from layer_shapes("conv_norm_out", first)
        yield from layer_shapes("conv_out", self._config["out_channels"], first, 3, 3)

    def _down(self) -> Iterator[tuple[str, Shape]]:
        before = self._channels[0]
        for i, kind in enumerate(self._config["down_block_types"]):
            name, width = f"down_blocks.{i}", self._channels[i]
            for j in range(self._layers[i]):
                yield from resnet_shapes(f"{name}.resnets.{j}", before, width, self._time)
                if kind.startswith("CrossAttn"):
                    yield from self._attention(f"{name}.attentions.{j}", width, i)
                before = width
            if i < len(self._channels) - 1:
                yield from layer_shapes(f"{name}.downsamplers.0.conv", width, width, 3, 3)

    def _middle(self) -> Iterator[tuple[str, Shape]]:
        width = self._channels[-1]
        for j in range(2):
            yield from resnet_shapes(f"mid_block.resnets.{j}", width, width, self._time)
        yield from self._attention("mid_block.attentions.0", width, -1)

    def _up(self) -> Iterator[tuple[str, Shape]]:
        channels = self._channels[::-1]
        before = channels[0]
        for i, kind in enumerate(self._config["up_block_types"]):
            name, width = f"up_blocks.{i}", channels[i]
            last_skip = channels[min(i + 1, len(channels) - 1)]
            count = self._layers[-1 - i] + 1
            for j in range(count):
                skip = last_skip if j == count - 1 else width
                yield from resnet_shapes(f"{name}.resnets.{j}", before + skip, width, self._time)
                if kind.startswith("CrossAttn"):
                    yield from self._attention(f"{name}.attentions.{j}", width, -1 - i)
                before = width
            if i < len(channels) - 1:
                yield from layer_shapes(f"{name}.upsamplers.0.conv", width, width, 3, 3)

    def _attention(self, name: str, width: int, block: int) -> Iterator[tuple[str, Shape]]:
        kernel = () if self._config["use_linear_projection"] else (1, 1)
        yield from layer_shapes(f"{name}.norm", width)
        for projection in ("proj_in", "proj_out"):
            yield from layer_shapes(f"{name}.{projection}", width, width, *kernel)
        for k in range(self._depths[block]):
            inner = f"{name}.transformer_blocks.{k}"
            yield from _transformer(inner, width, self._contexts[block])


def _transformer(name: str, width: int, context: int) -> Iterator[tuple[str, Shape]]:
    for norm in ("norm1", "norm2", "norm3"):
        yield from layer_shapes(f"{name}.{norm}", width)
    for attention, read in (("attn1", width), ("attn2", context)):
        yield from layer_shapes(f"{name}.{attention}.to_q", width, width, bias=False)
        yield from layer_shapes(f"{name}.{attention}.to_k", width, read, bias=False)
        yield from layer_shapes(f"{name}.{attention}.to_v", width, read, bias=False)
        yield from layer_shapes(f"{name}.{attention}.to_out.0", width, width)
    yield from layer_shapes(f"{name}.ff.net.0.proj", 8 * width, width)
    yield from layer_shapes(f"{name}.ff.net.2", width, 4 * width)


def _per_block(value: int | Sequence[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value)


def text_shapes(config: Config) -> Shapes:
    """Every parameter of a CLIP text encoder that a LoRA can adapt."""
    return dict(_text_parameters(config))


def _text_parameters(config: Config) -> Iterator[tuple[str, Shape]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layers.{i}"
        for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from layer_shapes(f"{name}.self_attn.{projection}", width, width)
        yield from layer_shapes(f"{name}.layer_norm1", width)
        yield from layer_shapes(f"{name}.layer_norm2", width)
        yield from layer_shapes(f"{name}.mlp.fc1", inner, width)
        yield from layer_shapes(f"{name}.mlp.fc2", width, inner)
    yield from layer_shapes("final_layer_norm", width)
    if "CLIPTextModelWithProjection" in (config.get("architectures") or []):
        yield from layer_shapes("text_projection", config["projection_dim"], width, bias=False)
