"""Classical filters whose parameters are chosen on the same photos on which they are evaluated.

Owns the filters and the grids. Through that tuning they know the kind of damage and its level,
which no model here does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Memory
from skimage.filters import gaussian, unsharp_mask
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from worker.training.damage import Pixels
from worker.training.metrics import psnr

Filter = Callable[[Pixels], Pixels]

FAMILIES = ("unsharp", "nlm", "other")
CACHE = Path(__file__).parent.parent / "var" / "quality"


@dataclass(frozen=True)
class Tuned:
    """The best filter of a family for one kind and level, and its pictures."""

    name: str
    pictures: list[Pixels]


def unsharp(pixels: Pixels, radius: float, amount: float) -> Pixels:
    return to_uint8(unsharp_mask(pixels, radius=radius, amount=amount, channel_axis=2))


def non_local_means(pixels: Pixels, sigma: float) -> Pixels:
    """Buades et al. with a known deviation of noise, in grey levels."""
    picture = pixels / 255
    deviation = sigma / 255
    return to_uint8(
        denoise_nl_means(
            picture, 5, 6, h=0.6 * deviation, sigma=deviation, fast_mode=True, channel_axis=2
        )
    )


def smooth(pixels: Pixels, sigma: float) -> Pixels:
    return to_uint8(gaussian(pixels, sigma=sigma, channel_axis=2))


def total_variation(pixels: Pixels, weight: float) -> Pixels:
    return to_uint8(denoise_tv_chambolle(pixels / 255, weight=weight, channel_axis=2))


def deconvolution(pixels: Pixels, sigma: float, noise: float) -> Pixels:
    """Wiener's deconvolution, for a Gaussian blur of a known width; edges are mirrored."""
    margin = 24
    padded = np.pad(pixels / 255, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    down, across = (np.fft.fftfreq(side) for side in padded.shape[:2])
    squared = down[:, None] ** 2 + across[None] ** 2
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * squared)
    # The power of photos falls with the square of frequency; that of noise does not.
    gain = transfer / (transfer**2 + noise * (squared + 1e-4) * 100)
    spectrum = np.fft.fft2(padded, axes=(0, 1)) * gain[..., None]
    restored = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return to_uint8(restored[margin:-margin, margin:-margin])


def to_uint8(picture: np.ndarray) -> Pixels:
    return np.asarray(np.clip(np.rint(picture * 255), 0, 255), dtype=np.uint8)


@Memory(CACHE, verbose=0).cache  # type: ignore[untyped-decorator]
def tuned(kind: str, family: str, damaged: list[Pixels], clean: list[Pixels]) -> Tuned:
    """The best filter of one family for a kind, with parameters chosen on these same photos."""
    return tune(dict(families(kind))[family], damaged, clean)


def families(kind: str) -> Iterator[tuple[str, list[tuple[str, Filter]]]]:
    """Families of filters that are suitable for a kind, each with its grid of parameters."""
    sharpening = [
        (f"unsharp {radius:g} x {amount:g}", partial(unsharp, radius=radius, amount=amount))
        for radius in (1.0, 1.5, 2.5)
        for amount in (0.3, 0.8, 1.5, 2.5)
    ]
    means = [
        (f"nlm {sigma:g}", partial(non_local_means, sigma=sigma))
        for sigma in ((4, 8, 13, 19, 26) if kind == "noise" else (2, 4, 8))
    ]
    yield "unsharp", sharpening
    yield "nlm", means
    yield "other", list(_others(kind))


def _others(kind: str) -> Iterator[tuple[str, Filter]]:
    for sigma in (0.4, 0.6, 0.8, 1.1, 1.5):
        yield f"gaussian {sigma:g}", partial(smooth, sigma=sigma)
    for weight in (0.01, 0.02, 0.04, 0.08, 0.12):
        yield f"tv {weight:g}", partial(total_variation, weight=weight)
    if kind in ("blur", "lowres", "phone"):
        for sigma in (0.8, 1.0, 1.3, 1.6, 1.75, 2.0, 2.5):
            for noise in (1e-4, 1e-3, 1e-2):
                yield (
                    f"wiener {sigma:g} {noise:g}",
                    partial(deconvolution, sigma=sigma, noise=noise),
                )


def tune(grid: list[tuple[str, Filter]], damaged: list[Pixels], clean: list[Pixels]) -> Tuned:
    """The member of the grid with the best mean PSNR, tested on the centres, then applied to the
    whole.
    """
    middles = [(_middle(d), _middle(c)) for d, c in zip(damaged, clean, strict=True)]

    def value(member: tuple[str, Filter]) -> float:
        return float(np.mean([psnr(member[1](d), c) for d, c in middles]))

    name, best = max(grid, key=value)
    return Tuned(name, [best(picture) for picture in damaged])


def _middle(pixels: Pixels, side: int = 160) -> Pixels:
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
