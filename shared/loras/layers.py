"""From tensor names to adapted layers: the parts, rank and width of each.

Kinds: low-rank pairs, also with a core (CP) and a magnitude (DoRA), LyCORIS' Hadamard and Kronecker
products, GLoRA, rotations (OFT, BOFT) and full differences of weights, biases and norms; see
https://github.com/KohakuBlueleaf/LyCORIS. shared/loras/dialects.py owns how names are spelled.
Knows nothing of base models and makes no judgement.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from math import isqrt, prod
from typing import NamedTuple

from shared.loras.dialects import is_beside, read_ending, scheme_of
from shared.loras.header import Tensor

LOW_RANK = frozenset({"down", "up"})
_HADAMARD = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
_GLORA = frozenset({"a1", "a2", "b1", "b2"})
# Parts that modify a change and make none by themselves.
QUALIFIERS = frozenset({"alpha", "scalar"})
# The longest ending of a layer's tensor has three dots.
_MAX_ABOVE = 3
_MAGNITUDES = frozenset({"dora", "magnitude"})


class Extent(NamedTuple):
    """The size of the matrix that a layer changes, with a kernel counted as input; None means any
    size.
    """

    outside: int | None
    inside: int | None


@dataclass
class Layer:
    """The tensors that adapt one module, by part: `down`, `up`, `alpha`, `hada_w1_a`, ...

    `down` is (rank, in-features[, kernel height, width]) and `up` (out-features, rank, ...).
    """

    parts: dict[str, Tensor] = field(default_factory=dict)

    def dimension(self, part: str, index: int) -> int | None:
        """One dimension of one part; None if there is no such part or dimension."""
        tensor = self.parts.get(part)
        return tensor.shape[index] if tensor and len(tensor.shape) > index else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing here changes a weight, as with an alpha without its layer."""
        return self.parts.keys() <= QUALIFIERS

    @property
    def rank(self) -> int | None:
        """The rank of this layer's change; None if it is stored in full."""
        parts = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "b2")
        return next((rank for part in parts if (rank := self.dimension(part, 0))), None)

    @property
    def in_features(self) -> int | None:
        """The input width of the adapted module."""
        for part in ("down", "hada_w1_b", "diff", "b2"):
            if (width := self.dimension(part, 1)) is not None:
                return width
        # A Kronecker product of matrices of widths m and n has width m*n.
        first = self.dimension("lokr_w1", 1) or self.dimension("lokr_w1_b", 1)
        second = self.dimension("lokr_w2", 1) or self.dimension("lokr_w2_b", 1)
        return first * second if first and second else None

    @property
    def kernel(self) -> int:
        """The adapted convolution's kernel side; 1 for linear layers."""
        tensor = self.parts.get("mid") or self.parts.get("down")
        return max(tensor.shape[2:], default=1) if tensor else 1

    def extents(self) -> list[Extent] | None:
        """The extent for each form that the layer has; None if parts do not belong together."""
        shapes = {part: tensor.shape for part, tensor in self.parts.items()}
        found = [form(shapes) for has, form in _FORMS if has & shapes.keys()]
        has_magnitude = bool(_MAGNITUDES & shapes.keys())
        if None in found or (has_magnitude and not found):
            return None
        return [extent for extent in found if extent]


Shapes = dict[str, tuple[int, ...]]


def _low_rank(shapes: Shapes) -> Extent | None:
    if not shapes.keys() >= LOW_RANK:
        return None
    down, up = shapes["down"], shapes["up"]
    if len(down) < 2 or len(up) < 2 or prod(up[1:]) != down[0]:
        return None
    if "mid" not in shapes:
        return Extent(up[0], prod(down[1:]))
    mid = shapes["mid"]
    agrees = len(mid) > 1 and mid[:2] == (down[0], down[0]) and prod(down[1:]) == down[1]
    return Extent(up[0], down[1] * prod(mid[2:])) if agrees else None


def _hadamard(shapes: Shapes) -> Extent | None:
    if not shapes.keys() >= _HADAMARD or ("hada_t1" in shapes) != ("hada_t2" in shapes):
        return None
    halves = [_product(shapes, f"hada_w{i}_a", f"hada_w{i}_b", f"hada_t{i}") for i in (1, 2)]
    return halves[0] if halves[0] == halves[1] else None


def _product(shapes: Shapes, left: str, right: str, core: str) -> Extent | None:
    """The extent of `left @ right`; with a core both are (rank, features)."""
    a, b = shapes[left], shapes[right]
    if len(a) != 2 or len(b) < 2:
        return None
    if core not in shapes:
        return Extent(a[0], prod(b[1:])) if a[1] == b[0] else None
    t = shapes[core]
    agrees = len(t) > 1 and t[:2] == (a[0], b[0]) and len(b) == 2
    return Extent(a[1], b[1] * prod(t[2:])) if agrees else None


def _kronecker(shapes: Shapes) -> Extent | None:
    halves = [_half(shapes, index) for index in (1, 2)]
    sides = [(extent.outside or 0, extent.inside or 0) for extent in halves if extent]
    if len(sides) < 2:
        return None
    return Extent(sides[0][0] * sides[1][0], sides[0][1] * sides[1][1])


def _half(shapes: Shapes, index: int) -> Extent | None:
    whole, left, right = (f"lokr_w{index}{end}" for end in ("", "_a", "_b"))
    if whole in shapes:
        shape = shapes[whole]
        return Extent(shape[0], prod(shape[1:])) if len(shape) > 1 else None
    if left not in shapes or right not in shapes:
        return None
    return _product(shapes, left, right, f"lokr_t{index}")


def _glora(shapes: Shapes) -> Extent | None:
    if not shapes.keys() >= _GLORA or any(len(shapes[part]) < 2 for part in _GLORA):
        return None
    a1, a2, b1, b2 = (shapes[part] for part in ("a1", "a2", "b1", "b2"))
    agrees = prod(a1[1:]) == a2[0] and prod(a2[1:]) == a1[0] and prod(b1[1:]) == b2[0]
    kernel = prod(shapes["bm"][2:]) if "bm" in shapes else 1
    return Extent(b1[0], prod(b2[1:]) * kernel) if agrees else None


def _rotation(shapes: Shapes) -> Extent | None:
    blocks = shapes.get("oft_blocks", ())
    if len(blocks) not in (3, 4) or blocks[-1] != blocks[-2]:
        return None
    return Extent(blocks[-3] * blocks[-1], None)


def _rotation_of_input(shapes: Shapes) -> Extent | None:
    """PEFT's OFT: the upper triangle of each block; one block may be shared by all."""
    blocks = shapes["oft_R"]
    if len(blocks) != 2:
        return None
    size = block_size(blocks[1])
    if size * (size - 1) // 2 != blocks[1]:
        return None
    return Extent(None, blocks[0] * size if blocks[0] > 1 else None)


def block_size(triangle: int) -> int:
    """The side of a square whose upper triangle, without its diagonal, has this many elements."""
    return (1 + isqrt(1 + 8 * triangle)) // 2


def _difference(shapes: Shapes) -> Extent | None:
    shape = shapes.get("diff") or shapes.get("set_weight") or shapes["w_norm"]
    return Extent(shape[0], prod(shape[1:])) if shape else None


_FORMS = (
    (LOW_RANK | {"mid", "up_bias"}, _low_rank),
    (_HADAMARD | {"hada_t1", "hada_t2"}, _hadamard),
    (
        frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"}),
        _kronecker,
    ),
    (_GLORA | {"bm"}, _glora),
    (frozenset({"oft_blocks", "rescale"}), _rotation),
    (frozenset({"oft_R"}), _rotation_of_input),
    (frozenset({"diff", "set_weight", "w_norm"}), _difference),
)


@dataclass
class Layers:
    """Everything in a file: its layers by module name as spelled, the tensors that belong to no
    layer, and additional tensors such as embeddings.

    What is derived from the layers is computed once, after the last tensor has been added.
    """

    by_module: dict[str, Layer]
    foreign: list[Tensor]
    beside: list[str] = field(default_factory=list)

    @cached_property
    def parts(self) -> set[str]:
        """Every kind of part in the file."""
        return {part for layer in self.by_module.values() for part in layer.parts}

    @cached_property
    def ranks(self) -> set[int | None]:
        """The ranks of the layers; None stands for those without one."""
        return {layer.rank for layer in self.by_module.values()}

    @property
    def rank(self) -> int | None:
        """The largest rank in the file; None if there is none."""
        return max((rank for rank in self.ranks if rank), default=None)

    @cached_property
    def scheme(self) -> str:
        """How the file names its tensors; `mixed` if it uses several dialects."""
        schemes = {scheme_of(module) for module in self.by_module}
        if len(schemes) == 1:
            return schemes.pop()
        return "unknown" if not schemes or "unknown" in schemes else "mixed"


def read_layers(tensors: Iterable[Tensor]) -> Layers:
    """Sorts tensors into layers by their names."""
    found = Layers({}, [])
    notes: list[Tensor] = []
    for tensor in tensors:
        beside = is_beside(tensor.name)
        ending = None if beside else read_ending(tensor.name)
        if ending is not None:
            _add(found, tensor, *ending)
        elif beside:
            found.beside.append(tensor.name)
        elif _is_note(tensor):
            notes.append(tensor)
        else:
            found.foreign.append(tensor)
    _sort_notes(found, notes)
    return found


def _sort_notes(found: Layers, notes: list[Tensor]) -> None:
    """A number that belongs to a layer, such as a scale, may change it; others are only notes."""
    for note in notes:
        parts = note.name.split(".")
        above = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
        if any(module in found.by_module for module in islice(above, _MAX_ABOVE)):
            found.foreign.append(note)
        else:
            found.beside.append(note.name)


def _is_note(tensor: Tensor) -> bool:
    """Whether a tensor is a single number or a counter, and so not a weight."""
    return prod(tensor.shape) == 1 or tensor.dtype.startswith(("I", "U", "BOOL"))


def _add(found: Layers, tensor: Tensor, module: str, part: str) -> None:
    layer = found.by_module.setdefault(module, Layer())
    if part in layer.parts:
        found.foreign.append(tensor)
    else:
        layer.parts[part] = tensor
