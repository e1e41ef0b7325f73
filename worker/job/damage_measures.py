"""Measures of a photo's damage: noise, blockiness, sharpness of detail.

Owns the measures. worker/job/damage.py owns their interpretation. numpy and Pillow only: the choice
is made before anything is put on the device.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float64]

LANCZOS = Image.Resampling.LANCZOS
BLOCK = 8
PATCH = 64
BANDS = 10
MAX_SIDE = 768
LUMA = np.array([0.299, 0.587, 0.114])
COLOUR_SIZES, COLOUR_CALMNESS = 4, (5, 50)
COLOUR_MEASURES = COLOUR_SIZES * len(COLOUR_CALMNESS)
# The percentiles of calmness at which noise is measured, at the photo's own size.
LUMA_CALMNESS = (5, 20, 50, 80)
# Halving takes log 2 = 0.69 from white noise, and its differences of colours to the luma have more
# of it than the luma; what the photo itself contains makes both less.
WHITE_PIXELS, WHITE_COLOURS = 0.1, 0.15
# An eighth of a grey level: anything below it is rounding.
FLOOR = 0.125


def measure(pixels: NDArray[np.uint8]) -> Plane:
    """The measures of one photo, uint8 [H, W, 3] of any size; small ones are mirrored.

    For a large photo they are the medians over a few windows, each at the photo's own size: a
    shrunk photo would not show its damage, and a single window may contain only sky.
    """
    return np.asarray(np.median([_measured(window) for window in windows(pixels)], axis=0))


def measure_colours(pixels: NDArray[np.uint8]) -> Plane:
    """The measures of one photo's noise of colour, which its luma hardly shows."""
    return np.asarray(np.median([_colours(window) for window in windows(pixels)], axis=0))


def kept_when_shrunk(pixels: NDArray[np.uint8], share: float) -> float:
    """How much of a photo is left after shrinking to this share of its size: the PSNR, dB, of the
    photo shrunk and enlarged again. A sharp photo of fine texture has 25, a blurred one 50.
    """
    return float(np.median([_kept(window, share) for window in windows(pixels)]))


def _kept(window: NDArray[np.uint8], share: float) -> float:
    height, width = window.shape[:2]
    whole = Image.fromarray(np.ascontiguousarray(window))
    small = whole.resize((max(1, round(width * share)), max(1, round(height * share))), LANCZOS)
    again = np.asarray(small.resize((width, height), LANCZOS), dtype=np.float64)
    error = ((again - window) ** 2).mean()
    return float(10 * np.log10(255**2 / (error + FLOOR**2)))


def is_white_noise(measures: Plane, colours: Plane) -> bool:
    """Whether noise with these measures is independent from pixel to pixel and from colour to
    colour, which that of processed photos never is.
    """
    luma, halved = measures[0], measures[len(LUMA_CALMNESS)]
    return bool(luma - halved > WHITE_PIXELS and colours[0] - luma > WHITE_COLOURS)


def windows(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The centre, and for large photos also the centres of its quarters."""
    middle = _cut(pixels, 0.5, 0.5)
    if min(pixels.shape[:2]) < 2 * MAX_SIDE:
        return [middle]
    return [middle, *(_cut(pixels, y, x) for y in (0.25, 0.75) for x in (0.25, 0.75))]


def _cut(pixels: NDArray[np.uint8], y: float, x: float) -> NDArray[np.uint8]:
    """A window around a point, starting at a multiple of 8, so that the block grid of a JPEG is
    preserved.
    """
    top, left = (
        max(0, int((side - MAX_SIDE) * at)) // BLOCK * BLOCK
        for side, at in zip(pixels.shape[:2], (y, x), strict=True)
    )
    return pixels[top : top + MAX_SIDE, left : left + MAX_SIDE]


def _measured(window: NDArray[np.uint8]) -> Plane:
    luma = _whole_blocks(window.astype(np.float64) @ LUMA)
    half = _halved(luma)
    return np.concatenate(
        [
            _grain(luma, LUMA_CALMNESS),
            _grain(half, (5, 20, 50)),
            _grain(_halved(half), (5, 50)),
            _blockiness(luma),
            _spectrum(luma),
        ]
    )


def _colours(window: NDArray[np.uint8]) -> Plane:
    """The mean of both differences to the luma, from the photo's own size to an eighth of it."""
    values = window.astype(np.float64)
    luma = values @ LUMA
    planes = [_whole_blocks(values[..., colour] - luma) for colour in (0, 2)]
    found = []
    for _ in range(COLOUR_SIZES):
        found.append(np.mean([_grain(plane, COLOUR_CALMNESS) for plane in planes], axis=0))
        planes = [_halved(plane) for plane in planes]
    return np.concatenate(found)


def _whole_blocks(plane: Plane) -> Plane:
    """Without an incomplete block at the end; anything smaller than a patch is mirrored."""
    height, width = (max(PATCH, side // BLOCK * BLOCK) for side in plane.shape)
    missing = [(0, max(0, height - plane.shape[0])), (0, max(0, width - plane.shape[1]))]
    return np.pad(plane, missing, mode="symmetric")[:height, :width]


def _halved(plane: Plane) -> Plane:
    height, width = (side // 2 * 2 for side in plane.shape)
    quads = plane[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.asarray(quads.mean((1, 3)))


def _grain(plane: Plane, percentiles: tuple[int, ...]) -> Plane:
    """Logarithms of the diagonal detail's size in calm to busy parts of the picture.

    The diagonal Haar coefficient of white noise has the noise's own deviation; in the calmest parts
    of a photo it contains little else (Donoho 1995, doi:10.1109/18.382009).
    """
    height, width = (side // 2 * 2 for side in plane.shape)
    quads = plane[:height, :width].reshape(height // 2, 2, width // 2, 2)
    diagonal = (quads[:, 0, :, 0] - quads[:, 0, :, 1] - quads[:, 1, :, 0] + quads[:, 1, :, 1]) / 2
    sizes = _block_deviation(np.asarray(diagonal))
    return np.asarray(np.log(np.percentile(sizes, percentiles) + FLOOR))


def _block_deviation(plane: Plane) -> Plane:
    size = min(BLOCK, *plane.shape)
    height, width = (side // size * size for side in plane.shape)
    blocks = plane[:height, :width].reshape(height // size, size, width // size, size)
    return np.asarray(np.sqrt((blocks**2).mean((1, 3))).ravel())


def _blockiness(luma: Plane) -> Plane:
    """How much larger steps are on the 8 pixel grid than off it, and how much flatter the blocks
    are inside.

    After Wang, Sheikh, Bovik 2002, doi:10.1109/ICIP.2002.1038064.
    """
    profile = np.zeros(BLOCK)
    for plane in (luma, luma.T):
        steps = np.abs(np.diff(plane, axis=1))
        profile += [steps[:, phase::BLOCK].mean() for phase in range(BLOCK)]
    profile += FLOOR
    inside = np.delete(profile, BLOCK - 1)
    edge = np.log(profile[-1] / inside.mean())
    flat = [(np.abs(np.diff(luma, axis=axis)) < 0.75).mean() for axis in (0, 1)]
    # Curvature across the grid line against curvature in the middle of blocks.
    bends = np.abs(np.diff(luma, n=2, axis=1))
    across = np.log((bends[:, 6::BLOCK].mean() + FLOOR) / (bends[:, 2::BLOCK].mean() + FLOOR))
    return np.array([edge, np.mean(flat), across, np.log(inside.max() / inside.min())])


def _spectrum(luma: Plane) -> Plane:
    """Log power in rings from coarse to fine, relative to the coarsest, and the power of the finest
    ring.
    """
    size = min(PATCH, *luma.shape)
    window = np.hanning(size)[:, None] * np.hanning(size)[None]
    total = np.zeros((size, size))
    for top in range(0, luma.shape[0] - size + 1, size):
        for left in range(0, luma.shape[1] - size + 1, size):
            patch = luma[top : top + size, left : left + size]
            total += np.abs(np.fft.fft2((patch - patch.mean()) * window)) ** 2
    count = (luma.shape[0] // size) * (luma.shape[1] // size)
    power = total / (count * (window**2).sum())
    rings = _rings(size)
    levels = np.array([power[rings == ring].mean() for ring in range(BANDS)])
    logs = np.log(levels + FLOOR**2)
    return np.append(np.diff(logs), logs[-1])


def _rings(size: int) -> NDArray[np.int64]:
    """Ring number of every frequency: 0 is the lowest, BANDS - 1 starts at Nyquist along an
    axis.
    """
    frequency = np.fft.fftfreq(size)
    radius = np.maximum(np.abs(frequency)[:, None], np.abs(frequency)[None])
    return np.asarray(np.minimum((radius * 2 * BANDS).astype(np.int64), BANDS - 1))
