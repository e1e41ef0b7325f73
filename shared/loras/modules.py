"""The modules of one base by part of its pipeline, and lookup by any of their spellings.

Takes the names and shapes of the parameters: from the loaded networks on a worker, and from the
checkpoint's configuration at the gateway (shared/loras/plans.py), so both find the same. Paths are
flat (`mid_block_attentions_0_proj_in`). Those of the original code (`middle_block_1_proj_in`) are
derived by counting the base's own blocks, so that no number is ever guessed from another one's
prefix.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from shared.loras.dialects import SEMANTIC, UNET

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_BLOCK = re.compile(
    r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>resnets|attentions|downsamplers"
    r"|upsamplers)\.(?P<index>\d+)\.(?P<rest>.+)"
)
_MIDDLE = re.compile(r"mid_block\.(?P<kind>resnets|attentions)\.(?P<index>\d+)\.(?P<rest>.+)")
# Names of text encoders in diffusers' first files, and OpenCLIP's names.
_OLD_TEXT = (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out"))
_OPENCLIP = (
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
)


class Modules:
    """The modules of a pipeline's parts, each with the shapes of its weight and bias."""

    def __init__(self, parts: Mapping[str, Shapes]) -> None:
        self._parts = {part: dict(shapes) for part, shapes in parts.items()}
        self._names: dict[str, dict[str, str]] = {}

    def find(self, part: str, path: str) -> str | None:
        """The module's own name; None if the part has no such module."""
        return self._names_in(network_of(part)).get(path)

    def _names_in(self, network: str) -> dict[str, str]:
        # A process knows many bases, and few of them ever get a file: a hundredth of a second each.
        if network not in self._names:
            self._names[network] = _paths(network, self._parts.get(network, {}))
        return self._names[network]

    def weight_shape(self, part: str, module: str) -> Shape:
        """The shape of a module's weight."""
        return self._parts[network_of(part)][f"{module}.weight"]

    def bias_shape(self, part: str, module: str) -> Shape | None:
        """The shape of a module's bias; None if it has none."""
        return self._parts[network_of(part)].get(f"{module}.bias")


def layer_shapes(name: str, *shape: int, bias: bool = True) -> Iterator[tuple[str, Shape]]:
    """The parameters of a layer whose weight has this shape."""
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def resnet_shapes(
    name: str, inside: int, outside: int, time: int | None = None
) -> Iterator[tuple[str, Shape]]:
    """The parameters of a ResNet block; `time` is the width of the timestep's embedding, if it has
    one.
    """
    yield from layer_shapes(f"{name}.norm1", inside)
    yield from layer_shapes(f"{name}.conv1", outside, inside, 3, 3)
    if time is not None:
        yield from layer_shapes(f"{name}.time_emb_proj", outside, time)
    yield from layer_shapes(f"{name}.norm2", outside)
    yield from layer_shapes(f"{name}.conv2", outside, outside, 3, 3)
    if inside != outside:
        yield from layer_shapes(f"{name}.conv_shortcut", outside, inside, 1, 1)


def network_of(part: str) -> str:
    """The network of a part: the semantic LoRA of a file is one of the UNet, too."""
    return UNET if part == SEMANTIC else part


def _paths(part: str, shapes: Shapes) -> dict[str, str]:
    modules = [name.removesuffix(".weight") for name in shapes if name.endswith(".weight")]
    aliases = _unet_aliases if part == UNET else _text_aliases
    found = {_flat(alias): module for module, alias in aliases(modules)}
    # A module's own name takes precedence over an alias of another.
    return found | {_flat(module).removeprefix("text_model_"): module for module in modules}


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _unet_aliases(modules: list[str]) -> Iterator[tuple[str, str]]:
    blocks = _Blocks(modules)
    for module in modules:
        original = blocks.original(module)
        for name in (module, original) if original else (module,):
            yield module, name
            if name.endswith(".to_out.0"):
                yield module, name.removesuffix(".0")


def _text_aliases(modules: list[str]) -> Iterator[tuple[str, str]]:
    for module in modules:
        name = module.removeprefix("text_model.")
        for ours, theirs in _OLD_TEXT:
            if name.endswith(f"self_attn.{ours}"):
                yield module, name.removesuffix(ours) + theirs
        for ours, theirs in _OPENCLIP:
            if name.startswith("encoder.layers.") and name.endswith(f".{ours}"):
                stem = name.removesuffix(ours).removeprefix("encoder.layers.")
                yield module, f"transformer.resblocks.{stem}{theirs}"


class _Blocks:
    """The block numbers of the original code, derived from the number of layers in each block of a
    UNet.
    """

    def __init__(self, modules: list[str]) -> None:
        layers: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._has_attention: set[tuple[str, int]] = set()
        for module in modules:
            match = _BLOCK.fullmatch(module)
            if match and match["kind"] == "resnets":
                layers[match["side"], int(match["block"])].add(int(match["index"]))
            elif match and match["kind"] == "attentions":
                self._has_attention.add((match["side"], int(match["block"])))
        self._starts = _starts({place: len(found) for place, found in layers.items()})

    def original(self, module: str) -> str | None:
        """A module's name in the original code; None if it has none."""
        if module in _OUTSIDE_BLOCKS:
            return _OUTSIDE_BLOCKS[module]
        if middle := _MIDDLE.fullmatch(module):
            place = 2 * int(middle["index"]) + (middle["kind"] == "attentions")
            return f"middle_block.{place}.{_inside(middle['kind'], middle['rest'])}"
        block = _BLOCK.fullmatch(module)
        return self._in_block(block) if block else None

    def _in_block(self, block: re.Match[str]) -> str:
        side, kind, rest = block["side"], block["kind"], block["rest"]
        start, count = self._starts[side, int(block["block"])]
        name = "input_blocks" if side == "down" else "output_blocks"
        if kind == "downsamplers":
            return f"{name}.{start + count}.0.op"
        if kind == "upsamplers":
            last = 1 + ((side, int(block["block"])) in self._has_attention)
            return f"{name}.{start + count - 1}.{last}.{rest}"
        place = f"{name}.{start + int(block['index'])}.{int(kind == 'attentions')}"
        return f"{place}.{_inside(kind, rest)}"


def _starts(counts: dict[tuple[str, int], int]) -> dict[tuple[str, int], tuple[int, int]]:
    """Where each block's numbers start, and how many layers it has; a downsampler counts as one."""
    starts, at = {}, {"down": 1, "up": 0}
    for (side, block), count in sorted(counts.items()):
        starts[side, block] = (at[side], count)
        at[side] += count + (side == "down")
    return starts


def _inside(kind: str, rest: str) -> str:
    return _RESNET.get(rest, rest) if kind == "resnets" else rest
