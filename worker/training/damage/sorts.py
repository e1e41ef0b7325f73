"""The catalogue of damage: every sort by its name, with its kind, its unit and its range.

A kind is a value of a LoRA's `treats`. Each has one plain sort, which is measured at fixed levels,
and others that imitate cameras and applications.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from worker.training.damage import blurring, chains, compression, noise, scaling
from worker.training.damage.pixels import Pixels

Kind = Literal["noise", "blur", "jpeg", "lowres", "phone"]
Random = np.random.Generator
Make = Callable[[Pixels, float, Random], Pixels]


# Half of all levels are in the mildest two fifths.
MILDER = 1.2


@dataclass(frozen=True)
class Range:
    """The meaning of a level, the range on which it is measured, and the range on which it is
    trained, from the mildest to the worst.
    """

    unit: str
    measured: tuple[float, float]
    trained: tuple[float, float]

    @property
    def middle(self) -> float:
        return sum(self.measured) / 2

    def draw(self, random: Random) -> float:
        """A random level from the trained range, uniform in the logarithm like perceived damage.

        Mild levels are more frequent, as they are among photos.
        """
        mildest, worst = np.log(self.trained)
        return float(np.exp(mildest + (worst - mildest) * random.random() ** MILDER))


@dataclass(frozen=True)
class Sort:
    """One sort of damage. `make(pixels, level, random)` returns pixels of the same size.

    `often`: its frequency relative to other sorts of its kind.
    """

    name: str
    kind: Kind
    range: Range
    make: Make
    often: float = 1


_DEVIATION = "standard deviation at middle grey, of 255"
_QUALITY = "quality"
_CHAIN = "strength of the chain"

_ALL = (
    Sort("white", "noise", Range(_DEVIATION, (8, 30), (3, 36)), noise.white),
    Sort("grain", "noise", Range(_DEVIATION, (5, 20), (2, 28)), noise.grey),
    Sort("signal", "noise", Range(_DEVIATION, (6, 24), (2, 30)), noise.signal_dependent),
    Sort("correlated", "noise", Range(_DEVIATION, (5, 20), (2, 26)), noise.correlated, 2),
    Sort("bayer", "noise", Range(_DEVIATION, (6, 24), (2, 30)), noise.bayer),
    Sort("night", "noise", Range(_DEVIATION, (8, 24), (4, 30)), noise.low_light),
    Sort("gaussian", "blur", Range("sigma, pixels", (1, 2.5), (0.5, 2.8)),
         lambda p, level, _: blurring.gaussian(p, level)),
    Sort("anisotropic", "blur", Range("mean sigma, pixels", (1, 2.5), (0.6, 2.8)),
         blurring.anisotropic),
    Sort("disk", "blur", Range("radius, pixels", (1, 4), (1, 6)),
         lambda p, level, _: blurring.disk(p, level)),
    Sort("motion", "blur", Range("length, pixels", (3, 15), (3, 25)), blurring.motion),
    Sort("defocus", "blur", Range("radius, pixels", (0.7, 1.8), (0.5, 2.2)), blurring.defocus, 2),
    Sort("jpeg", "jpeg", Range(_QUALITY, (10, 40), (90, 8)),
         lambda p, level, _: compression.jpeg(p, level)),
    Sort("jpeg_twice", "jpeg", Range(_QUALITY, (15, 60), (92, 10)), compression.jpeg_twice),
    Sort("webp", "jpeg", Range(_QUALITY, (10, 50), (85, 5)),
         lambda p, level, _: compression.webp(p, level)),
    Sort("small", "lowres", Range("times smaller", (2, 4), (1.3, 4.3)),
         lambda p, level, _: scaling.lower_resolution(p, level)),
    Sort("small_by_any", "lowres", Range("times smaller", (1.5, 3.5), (1.2, 4)),
         scaling.drawn_resolution),
    Sort("phone", "phone", Range(_CHAIN, (0.5, 1.5), (0.4, 1.6)), chains.phone),
    Sort("camera", "phone", Range(_CHAIN, (0.5, 1.5), (0.3, 2)), chains.camera, 2),
    Sort("chat", "phone", Range(_CHAIN, (0.5, 1.5), (0.3, 1.8)), chains.chat, 2),
    Sort("second_order", "phone", Range(_CHAIN, (0.5, 1.5), (0.2, 1.6)), chains.second_order),
    Sort("rings", "phone", Range("share of the detail added", (0.5, 1.5), (0.3, 2)),
         blurring.over_sharpened),
)  # fmt: skip

SORTS: dict[str, Sort] = {sort.name: sort for sort in _ALL}
PLAIN: dict[Kind, str] = {
    "noise": "white",
    "blur": "gaussian",
    "jpeg": "jpeg",
    "lowres": "small",
    "phone": "phone",
}
KINDS: tuple[Kind, ...] = tuple(PLAIN)
RANGES: dict[Kind, Range] = {kind: SORTS[name].range for kind, name in PLAIN.items()}


def sorts_of(kind: Kind) -> list[Sort]:
    """All sorts of a kind, the plain one first."""
    return [sort for sort in _ALL if sort.kind == kind]


def degrade(pixels: Pixels, kind: Kind, level: float, random: Random) -> Pixels:
    """The plain sort of a kind at `level`, in the unit that RANGES gives for it."""
    return SORTS[PLAIN[kind]].make(pixels, level, random)


def draw_level(kind: Kind, random: Random) -> float:
    """A random level of the plain sort of a kind."""
    return RANGES[kind].draw(random)
