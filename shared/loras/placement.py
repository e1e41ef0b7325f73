"""Maps each tensor of a file to its place in one base; catalogue and worker share this mapping.

The catalogue judges a file with it and the worker loads the file with it, so the worker can load
what the catalogue offers. A tensor without a place is named, with the reason. Reads neither files
nor values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

from shared.loras.dialects import place_of
from shared.loras.header import Tensor
from shared.loras.layers import Extent, Layer, Layers
from shared.loras.modules import Modules, Shape

Why = Literal["module", "shape"]
_BIASES = ("diff_b", "b_norm", "up_bias", "set_bias")
_SCALES = ("dora", "magnitude")


class Unplaced(NamedTuple):
    """A tensor without a place: the base has no such `module`, or it has another `shape`."""

    name: str
    why: Why


class Target(NamedTuple):
    """A module of one part of a pipeline."""

    part: str
    module: str


@dataclass
class Placement:
    """The layers by target, one for each spelling; tensors without a place, and alphas without a
    layer.
    """

    layers: dict[Target, list[Layer]] = field(default_factory=dict)
    unplaced: list[Unplaced] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


def place(found: Layers, modules: Modules) -> Placement:
    """Finds the module of every layer in the base, and names the tensors without one."""
    placement = Placement()
    for spelled, layer in found.by_module.items():
        target, why = _target(spelled, layer, modules)
        if target is not None:
            _join(placement.layers.setdefault(target, []), layer)
        elif layer.is_empty:
            placement.idle += [tensor.name for tensor in layer.parts.values()]
        else:
            names = (tensor.name for tensor in layer.parts.values())
            placement.unplaced += [Unplaced(name, why) for name in names]
    for target in [t for t, layers in placement.layers.items() if layers[0].is_empty]:
        layers = placement.layers.pop(target)
        placement.idle += [t.name for layer in layers for t in layer.parts.values()]
    return placement


def fits_whole(found: Layers, modules: Modules) -> bool:
    """Whether every layer has a module in the base; ends at the first that has none."""
    return all(
        layer.is_empty or _target(spelled, layer, modules)[0] is not None
        for spelled, layer in found.by_module.items()
    )


def _target(spelled: str, layer: Layer, modules: Modules) -> tuple[Target | None, Why]:
    why: Why = "module"
    for target in _candidates(spelled, modules):
        if layer.is_empty or fits(layer, modules, target):
            return target, why
        why = "shape"
    return None, why


def _candidates(spelled: str, modules: Modules) -> Iterator[Target]:
    parts, path = place_of(spelled)
    for part in parts:
        module = modules.find(part, path)
        if module is not None:
            yield Target(part, module)


def _join(layers: list[Layer], layer: Layer) -> None:
    """Several spellings of one module: parts that complete a layer are joined; repeated parts are a
    separate change.
    """
    for other in layers:
        if not other.parts.keys() & layer.parts.keys():
            other.parts |= layer.parts
            return
    layers.append(Layer(dict(layer.parts)))


def fits(layer: Layer, modules: Modules, target: Target) -> bool:
    """Whether every part of a layer has the shape that its module requires."""
    weight = modules.weight_shape(*target)
    bias = modules.bias_shape(*target)
    extents = layer.extents()
    if extents is None or not all(_covers(extent, weight) for extent in extents):
        return False
    return _fits_bias(layer.parts, bias) and _fits_scales(layer.parts, weight)


def _covers(extent: Extent, weight: Shape) -> bool:
    outside = extent.outside in (None, weight[0])
    return outside and extent.inside in (None, prod(weight[1:]))


def _fits_bias(parts: Mapping[str, Tensor], bias: Shape | None) -> bool:
    return all(bias is not None and _size(parts[p]) == prod(bias) for p in _BIASES if p in parts)


def _fits_scales(parts: Mapping[str, Tensor], weight: Shape) -> bool:
    """A magnitude is one number for each output, or for each input."""
    sides = set(weight[:2])
    rescale = parts.get("rescale")
    return all(_size(parts[p]) in sides for p in _SCALES if p in parts) and (
        rescale is None or _size(rescale) == weight[0]
    )


def _size(tensor: Tensor) -> int:
    return prod(tensor.shape)
