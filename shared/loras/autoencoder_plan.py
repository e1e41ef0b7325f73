"""The parameters of an autoencoder's encoder, by name and shape, from its configuration alone.

Follows the structure of diffusers' AutoencoderKL. Nothing changes the decoder: a LoRA on it would
act on every picture that is decoded in the same batch.
"""

from collections.abc import Iterator

from shared.checkpoints.published import Config
from shared.loras.modules import Shape, Shapes, layer_shapes, resnet_shapes

_DEFAULTS: Config = {"in_channels": 3, "latent_channels": 4, "layers_per_block": 2}


def autoencoder_shapes(config: Config) -> Shapes:
    """Every parameter of the encoder; none if the autoencoder is of another kind."""
    full = {**_DEFAULTS, **config}
    kinds = set(full.get("down_block_types") or ())
    if full.get("_class_name") != "AutoencoderKL" or kinds != {"DownEncoderBlock2D"}:
        return {}
    return dict(_parameters(full))


def is_of_encoder(name: str) -> bool:
    """Whether a parameter or module of an autoencoder is used for encoding only."""
    return name.startswith(("encoder.", "quant_conv"))


def _parameters(config: Config) -> Iterator[tuple[str, Shape]]:
    widths: list[int] = list(config["block_out_channels"])
    latents = 2 * int(config["latent_channels"])
    yield from layer_shapes("encoder.conv_in", widths[0], config["in_channels"], 3, 3)
    before = widths[0]
    for block, width in enumerate(widths):
        name = f"encoder.down_blocks.{block}"
        for index in range(int(config["layers_per_block"])):
            yield from resnet_shapes(f"{name}.resnets.{index}", before, width)
            before = width
        if block < len(widths) - 1:
            yield from layer_shapes(f"{name}.downsamplers.0.conv", width, width, 3, 3)
    yield from _middle(
        "encoder.mid_block", before, bool(config.get("mid_block_add_attention", True))
    )
    yield from layer_shapes("encoder.conv_norm_out", before)
    yield from layer_shapes("encoder.conv_out", latents, before, 3, 3)
    if config.get("use_quant_conv", True):
        yield from layer_shapes("quant_conv", latents, latents, 1, 1)


def _middle(name: str, width: int, has_attention: bool) -> Iterator[tuple[str, Shape]]:
    for index in range(2):
        yield from resnet_shapes(f"{name}.resnets.{index}", width, width)
    if has_attention:
        yield from layer_shapes(f"{name}.attentions.0.group_norm", width)
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from layer_shapes(f"{name}.attentions.0.{projection}", width, width)
