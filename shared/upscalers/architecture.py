"""Identifies the network that a set of named shapes forms: its kind and all its sizes.

The gateway and the worker decide by the same names and shapes, and the worker builds the network
from the result; so every file that the catalogue calls available can be loaded. Names are the
published ones; naming.py converts those of older files.

RRDBNet: Wang et al. 2018 (arXiv:1809.00219) and 2021 (arXiv:2107.10833). SRVGGNetCompact:
Real-ESRGAN's small network. FoldedNet: ours, worker/engine/upscale/networks.py.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.loras.reasons import Reason, clean, refused

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

COLOURS = 3
KERNEL = (3, 3)
FOLD = 2
# Far beyond every published network; a larger one would fill a device's memory by itself.
MOST_CHANNELS, MOST_BLOCKS = 512, 64
# The factor by which the input is folded (pixel unshuffle), by its number of channels.
FOLDS = {COLOURS: 1, COLOURS * 4: 2, COLOURS * 16: 4}
LARGEST_FACTOR = 8


@dataclass(frozen=True)
class Rrdb:
    """`ups` doublings after the trunk; the input is folded by `fold` before it."""

    width: int
    growth: int
    blocks: int
    ups: int
    fold: int

    @property
    def factors(self) -> tuple[int, ...]:
        return (2**self.ups // self.fold,)

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        yield from _conv("conv_first", COLOURS * self.fold**2, self.width)
        for block in range(self.blocks):
            for dense in range(1, 4):
                yield from self._dense(f"body.{block}.rdb{dense}")
        names = [f"conv_up{number + 1}" for number in range(self.ups)]
        for name in ("conv_body", *names, "conv_hr"):
            yield from _conv(name, self.width, self.width)
        yield from _conv("conv_last", self.width, COLOURS)

    def _dense(self, name: str) -> Iterator[tuple[str, Shape]]:
        for number in range(5):
            outputs = self.growth if number < 4 else self.width
            inputs = self.width + number * self.growth
            yield from _conv(f"{name}.conv{number + 1}", inputs, outputs)


@dataclass(frozen=True)
class Compact:
    """`convolutions` between the first and the last one."""

    width: int
    convolutions: int
    factor: int

    @property
    def factors(self) -> tuple[int, ...]:
        return (self.factor,)

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        yield from _conv("body.0", COLOURS, self.width)
        for number in range(self.convolutions + 1):
            yield f"body.{2 * number + 1}.weight", (self.width,)
            outputs = self.width if number < self.convolutions else COLOURS * self.factor**2
            yield from _conv(f"body.{2 * number + 2}", self.width, outputs)


@dataclass(frozen=True)
class Folded:
    """Ours: a trunk of `blocks` at half size, with `fine` channels at the picture's own size."""

    width: int
    blocks: int
    fine: int
    factors: tuple[int, ...]

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        yield from _conv("first", COLOURS * FOLD**2, self.width)
        for block in range(self.blocks):
            for number in (1, 2):
                yield from _conv(f"trunk.{block}.conv{number}", self.width, self.width)
        yield from _conv("unfold", self.width, self.fine * FOLD**2)
        yield from _conv("direct", COLOURS, self.fine)
        yield from _conv("refine", self.fine, self.fine)
        for factor in self.factors:
            yield from _conv(f"tails.{factor}", self.fine, COLOURS * factor**2)


Architecture = Rrdb | Compact | Folded


def identify(shapes: Shapes) -> Architecture:
    """The network that consists of exactly these tensors.

    Raises Refused, which names the tensor that does not fit.
    """
    try:
        guess = _guess(shapes)
    except (KeyError, IndexError, ValueError) as error:
        raise refused(Reason.UNKNOWN_NETWORK, name=clean(next(iter(shapes), ""))) from error
    if guess is None:
        raise refused(Reason.UNKNOWN_NETWORK, name=clean(next(iter(shapes), "")))
    _check_sizes(guess)
    _check_all(dict(guess.shapes()), shapes)
    return guess


def _guess(shapes: Shapes) -> Architecture | None:
    if "conv_first.weight" in shapes:
        return _guess_rrdb(shapes)
    if "unfold.weight" in shapes:
        return _guess_folded(shapes)
    if "body.0.weight" in shapes:
        return _guess_compact(shapes)
    return None


def _guess_rrdb(shapes: Shapes) -> Rrdb:
    width, inputs = shapes["conv_first.weight"][:2]
    return Rrdb(
        width=width,
        growth=shapes["body.0.rdb1.conv1.weight"][0],
        blocks=_count(shapes, r"body\.(\d+)\.rdb1\.conv1\.weight"),
        ups=_count(shapes, r"conv_up(\d+)\.weight", first=1),
        fold=FOLDS[inputs],
    )


def _guess_compact(shapes: Shapes) -> Compact:
    last = _count(shapes, r"body\.(\d+)\.bias", step=2) * 2 - 2
    outputs = shapes[f"body.{last}.weight"][0]
    factor = round((outputs / COLOURS) ** 0.5)
    return Compact(shapes["body.0.weight"][0], last // 2 - 1, factor)


def _guess_folded(shapes: Shapes) -> Folded:
    found = (re.fullmatch(r"tails\.([1-8])\.weight", name) for name in shapes)
    return Folded(
        width=shapes["first.weight"][0],
        blocks=_count(shapes, r"trunk\.(\d+)\.conv1\.weight"),
        fine=shapes["direct.weight"][0],
        factors=tuple(sorted(int(match[1]) for match in found if match)),
    )


def _count(shapes: Shapes, pattern: str, *, first: int = 0, step: int = 1) -> int:
    """The number of members in a numbered series, from its highest number."""
    found = (re.fullmatch(pattern, name) for name in shapes)
    numbers = [int(match[1]) for match in found if match and len(match[1]) < 4]
    return (max(numbers) - first) // step + 1 if numbers else 0


def _check_sizes(guess: Architecture) -> None:
    channels = [getattr(guess, name, 1) for name in ("width", "growth", "fine")]
    blocks = [getattr(guess, name, 1) for name in ("blocks", "convolutions")]
    fits = all(1 <= count <= MOST_CHANNELS for count in channels)
    if not fits or not all(0 <= count <= MOST_BLOCKS for count in blocks):
        raise refused(Reason.UNKNOWN_NETWORK, name=type(guess).__name__)
    if not guess.factors or not all(1 <= factor <= LARGEST_FACTOR for factor in guess.factors):
        raise refused(Reason.UNKNOWN_NETWORK, name=type(guess).__name__)


def _check_all(expected: dict[str, Shape], found: Shapes) -> None:
    for name, shape in expected.items():
        if name not in found:
            raise refused(Reason.MISSING_TENSOR, name=clean(name))
        if tuple(found[name]) != shape:
            raise refused(Reason.WRONG_SHAPE, name=clean(name), shape=_text(found[name]))
    foreign = next((name for name in found if name not in expected), None)
    if foreign is not None:
        raise refused(Reason.FOREIGN_TENSORS_HERE, name=clean(foreign))


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "()"


def _conv(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs, *KERNEL)
    yield f"{name}.bias", (outputs,)


def operations(architecture: Architecture) -> float:
    """Approximate multiplications and additions per input pixel."""
    total = 0.0
    for name, shape in architecture.shapes():
        if len(shape) == 4:
            total += 2.0 * shape[0] * shape[1] * 9 * _pixels(architecture, name)
    return total


def _pixels(architecture: Architecture, name: str) -> float:
    """The number of pixels on which a convolution runs, per input pixel."""
    if isinstance(architecture, Folded):
        return 1 / FOLD**2 if name.startswith(("first", "trunk", "unfold")) else 1.0
    if isinstance(architecture, Compact):
        return 1.0
    at_input = 1 / architecture.fold**2
    if name.startswith("conv_up"):
        return float(at_input * 4 ** int(name[len("conv_up")]))
    is_large = name.startswith(("conv_hr", "conv_last"))
    return float(at_input * (4**architecture.ups if is_large else 1))
