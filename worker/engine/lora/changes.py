"""The changes that a LoRA makes to one weight: low-rank pairs, and kinds that are computed in full.

A change gives the difference of a weight, in float32, from the weight of the base. Formulas are
those of LyCORIS (https://github.com/KohakuBlueleaf/LyCORIS) and PEFT, and tests compare the results
with both libraries. A job's scale multiplies the difference, whatever its kind: half a DoRA is half
the difference. Knows nothing of files and names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from shared.loras.layers import block_size

Tensors = Mapping[str, torch.Tensor]


class Change(Protocol):
    """The change of one weight or bias."""

    @property
    def size_bytes(self) -> int: ...

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        """The difference from the base's weight `like`, in its shape, float32, on its device."""


@dataclass(frozen=True)
class LowRank:
    """One layer's change: `scale * up @ down`, of rank r.

    `down` is [r, in] or [r, in, k, k]; `up` is [out, r] or [out, r, 1, 1]; `scale` is alpha / r.
    """

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def size_bytes(self) -> int:
        return self.down.nbytes + self.up.nbytes

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        up, down = (x.to(like.device, torch.float32).flatten(1) for x in (self.up, self.down))
        return (up @ down).reshape(like.shape) * self.scale


Rule = Callable[[Tensors, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Dense:
    """A change computed in full: `scale` times the result of `rule` for its tensors."""

    tensors: Tensors
    scale: float
    rule: Rule

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        tensors = {n: t.to(like.device, torch.float32) for n, t in self.tensors.items()}
        return self.rule(tensors, like.float()).reshape(like.shape) * self.scale


@dataclass(frozen=True)
class Decomposed:
    """DoRA: the changed weight, with each output (or input) scaled to a learned length."""

    inner: Change
    magnitude: torch.Tensor
    by_input: bool

    @property
    def size_bytes(self) -> int:
        return self.inner.size_bytes + self.magnitude.nbytes

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        base = like.float()
        changed = base + self.inner.delta(like)
        kept = 1 if self.by_input else 0
        dims = [dim for dim in range(changed.dim()) if dim != kept]
        length = torch.linalg.vector_norm(changed, dim=dims, keepdim=True)
        sides = [-1 if dim == kept else 1 for dim in range(changed.dim())]
        magnitude = self.magnitude.to(like.device, torch.float32).reshape(sides)
        grown: torch.Tensor = magnitude / (length + torch.finfo(torch.float32).eps)
        return changed * grown - base


@dataclass(frozen=True)
class Together:
    """Several changes of one weight, each relative to the base's own."""

    changes: tuple[Change, ...]

    @property
    def size_bytes(self) -> int:
        return sum(change.size_bytes for change in self.changes)

    def delta(self, like: torch.Tensor) -> torch.Tensor:
        return torch.stack([change.delta(like) for change in self.changes]).sum(0)


def added(tensors: Tensors, _like: torch.Tensor) -> torch.Tensor:
    """A difference that is stored in full."""
    return tensors["diff"]


def replaced(tensors: Tensors, like: torch.Tensor) -> torch.Tensor:
    """A weight that replaces the base's."""
    return tensors["set_weight"].reshape(like.shape) - like


def low_rank_with_core(tensors: Tensors, _like: torch.Tensor) -> torch.Tensor:
    """CP decomposition: `mid` [r, r, k, k] between `down` [r, in] and `up` [out, r]."""
    up, down = tensors["up"].flatten(1), tensors["down"].flatten(1)
    return torch.einsum("rs...,or,si->oi...", tensors["mid"], up, down)


def hadamard(tensors: Tensors, _like: torch.Tensor) -> torch.Tensor:
    """LoHa: two low-rank matrices, multiplied element by element."""
    first, second = (_half_of_hadamard(tensors, index) for index in (1, 2))
    return first * second


def _half_of_hadamard(tensors: Tensors, index: int) -> torch.Tensor:
    left, right = tensors[f"hada_w{index}_a"], tensors[f"hada_w{index}_b"]
    return _product(left, right, tensors.get(f"hada_t{index}"))


def kronecker(tensors: Tensors, _like: torch.Tensor) -> torch.Tensor:
    """LoKr: the Kronecker product of a small matrix and a larger one, each full or low-rank."""
    first, second = (_half_of_kronecker(tensors, index) for index in (1, 2))
    first = first.reshape(*first.shape, *[1] * (second.dim() - first.dim()))
    return torch.kron(first, second.contiguous())


def _half_of_kronecker(tensors: Tensors, index: int) -> torch.Tensor:
    whole = tensors.get(f"lokr_w{index}")
    if whole is not None:
        return whole
    left, right = tensors[f"lokr_w{index}_a"], tensors[f"lokr_w{index}_b"]
    return _product(left, right, tensors.get(f"lokr_t{index}"))


def _product(left: torch.Tensor, right: torch.Tensor, core: torch.Tensor | None) -> torch.Tensor:
    """`left @ right`, keeping a kernel of `right`; with a core both are [rank, features]."""
    if core is not None:
        return torch.einsum("rs...,ro,si->oi...", core, left, right)
    return (left @ right.flatten(1)).reshape(left.shape[0], *right.shape[1:])


def generalised(tensors: Tensors, like: torch.Tensor) -> torch.Tensor:
    """GLoRA: `W a1 a2 + b1 b2`."""
    a1, a2, b1, b2 = (tensors[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if "bm" in tensors:
        added = torch.einsum("rs...,or,si->oi...", tensors["bm"], b1, b2)
    else:
        added = (b1 @ b2).reshape(like.shape)
    # From the left: a product of the two factors would be as large as the weight.
    turned = torch.einsum("or...,rj->oj...", torch.einsum("oi...,ir->or...", like, a1), a2)
    return added.reshape(like.shape) + turned


def rotated(tensors: Tensors, like: torch.Tensor) -> torch.Tensor:
    """OFT: blocks of outputs, rotated by Cayley's transform of a skew-symmetric matrix."""
    rotation = _cayley(_constrained(tensors, like))
    blocks, size, _ = rotation.shape
    folded = like.reshape(blocks, size, -1)
    turned = torch.einsum("knm,kni->kmi", rotation, folded).reshape(like.shape)
    return _rescaled(turned, tensors) - like


def rotated_by_butterflies(tensors: Tensors, like: torch.Tensor) -> torch.Tensor:
    """BOFT: rotations of blocks whose members are twice as far apart at each stage."""
    rotations = _cayley(_constrained(tensors, like))
    stages, _, size, _ = rotations.shape
    rest = like.shape[1:]
    turned = like
    for stage in range(stages):
        apart = 2**stage * size // 2
        folded = turned.reshape(-1, 2, apart, *rest).transpose(1, 2).reshape(-1, size, *rest)
        mixed = torch.einsum("kij,kj...->ki...", rotations[stage], folded)
        turned = mixed.reshape(-1, apart, 2, *rest).transpose(1, 2).reshape(like.shape)
    return _rescaled(turned, tensors) - like


def _constrained(tensors: Tensors, like: torch.Tensor) -> torch.Tensor:
    """The skew-symmetric part, limited to the constraint, which LyCORIS stores as alpha."""
    blocks = tensors["oft_blocks"]
    skew = blocks - blocks.transpose(-1, -2)
    limit = float(tensors["alpha"].flatten()[0]) * like.shape[0] if "alpha" in tensors else 0.0
    length = float(skew.norm()) + 1e-8
    return skew * (limit / length) if 0 < limit < length else skew


def _cayley(skew: torch.Tensor) -> torch.Tensor:
    one = torch.eye(skew.shape[-1], device=skew.device)
    rotation: torch.Tensor = (one + skew) @ torch.linalg.inv(one - skew)
    return rotation


def _rescaled(weight: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    rescale = tensors.get("rescale")
    if rescale is None:
        return weight
    return weight * rescale.reshape(-1, *[1] * (weight.dim() - 1))


def rotated_inputs(tensors: Tensors, like: torch.Tensor, terms: int) -> torch.Tensor:
    """PEFT's OFT: blocks of inputs, rotated. Cayley's transform, or its series of `terms` terms as
    PEFT computes it; 0 means the transform itself.
    """
    triangle = tensors["oft_R"]
    size = block_size(triangle.shape[1])
    skew = triangle.new_zeros(triangle.shape[0], size, size)
    rows, columns = torch.triu_indices(size, size, 1, device=skew.device)
    skew[:, rows, columns] = triangle
    skew = skew - skew.transpose(-1, -2)
    rotation = _cayley_series(skew, terms) if terms else _cayley(-skew)
    folded = like.reshape(like.shape[0], -1, size)
    rotation = rotation.expand(folded.shape[1], -1, -1)
    return torch.einsum("okm,knm->okn", folded, rotation).flatten(1).reshape(like.shape) - like


def _cayley_series(skew: torch.Tensor, terms: int) -> torch.Tensor:
    """`1 + 2 Q + 2 Q^2 + ... + Q^n`, with the last term once."""
    last = max(terms - 1, 3) if terms > 2 else terms - 1
    total = power = torch.eye(skew.shape[-1], device=skew.device).expand_as(skew)
    for index in range(1, last + 1):
        power = power @ skew
        total = total + power * (1.0 if index == last > 1 else 2.0)
    return total
