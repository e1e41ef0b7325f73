"""Generates examples for the watermark network, clean and marked.

Owns the cases: a mark that the model added, one that the input already had, one that the model
removed, none. Only the first one is an alarm.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.guards.mark_features import CELL, Planes, channels
from worker.training.marks.enhancing import Pair
from worker.training.marks.laying import KINDS, OPACITY, Layer, draw_layer
from worker.training.marks.pairs import imitate
from worker.training.marks.stencils import Palette
from worker.training.photos import Photo, Pixels

# Grey levels, averaged over a cell, from which a mark in it must be found.
SEEN = 1.0
# The difference in grey levels between strokes and background at which people see a mark.
VISIBLE = 8.0
REAL_SHARE = 0.5
CASES = ("added", "kept", "removed", "none")
SHARES = (0.48, 0.2, 0.17, 0.15)
# How often a marked picture is followed by the same one without its mark.
TWIN_SHARE = 0.5
# Includes opaque marks, which a model draws just as often.
DRAWN_OPACITY = (OPACITY[0], 1.0)
# How far a crop is scaled down, so that marks and photos occur in many sizes.
SHRINK = (1.0, 2.2)


@dataclass(frozen=True)
class Example:
    """Channels [9, H, W]; per cell, whether a mark was added (1, 0, or -1: too faint to count)."""

    planes: Planes
    cells: NDArray[np.int8]

    @property
    def is_marked(self) -> bool:
        return bool((self.cells == 1).any())


class Examples:
    """An endless source for one palette, from photos and from the engine's own pairs."""

    def __init__(
        self, photos: list[Photo], pairs: list[Pair], palette: Palette, crop: int, seed: int
    ) -> None:
        self._photos = photos
        self._pairs = pairs
        self._palette = palette
        self._crop = crop
        self._dice = random.Random(seed)
        self._random = np.random.default_rng(seed)
        self._twin: Example | None = None

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.draw()

    def draw(self) -> Example:
        """The next example."""
        if self._twin is not None:
            twin, self._twin = self._twin, None
            return twin
        case = self._dice.choices(CASES, SHARES)[0]
        layer = self._layer()
        given, output = self._pair(layer if case in ("kept", "removed") else None, case)
        if case != "added":
            return Example(channels(given, output), _no_cells(output))
        if self._dice.random() < TWIN_SHARE:
            self._twin = Example(channels(given, output), _no_cells(output))
        marked = layer.over(output)
        if self._dice.random() < 0.4:
            marked = softened(marked, self._dice.uniform(0.4, 0.9))
            output = softened(output, 0.6)
        return Example(channels(given, marked), seen_cells(output, marked, layer))

    def _layer(self) -> Layer:
        # Faint marks are drawn more often, because they are harder.
        kind = self._dice.choice(KINDS)
        strength = self._dice.triangular(*DRAWN_OPACITY, OPACITY[0])
        return draw_layer((self._crop, self._crop), kind, strength, self._palette, self._dice)

    def _pair(self, layer: Layer | None, case: str) -> Pair:
        if self._pairs and self._dice.random() < REAL_SHARE:
            given, output = self._cut(*self._dice.choice(self._pairs))
            if layer is None:
                return given, output
            return layer.over(given), output if case == "removed" else self._kept(layer, output)
        (clean,) = self._cut(self._dice.choice(self._photos).pixels)
        if layer is None:
            return imitate(clean, self._random)
        given, output = imitate(layer.over(clean), self._random)
        return given, clean if case == "removed" else output

    def _kept(self, layer: Layer, output: Pixels) -> Pixels:
        """A mark as a model may change it: fainter or clearer, softer or unchanged."""
        layer.opacity *= self._dice.uniform(0.5, 1.1)
        marked = layer.over(output)
        return softened(marked, self._dice.uniform(0.3, 1)) if self._dice.random() < 0.5 else marked

    def _cut(self, *pictures: Pixels) -> tuple[Pixels, ...]:
        """The same random square of each, scaled to the crop's side and randomly mirrored."""
        height, width = pictures[0].shape[:2]
        largest = min(height, width, round(self._crop * self._dice.uniform(*SHRINK)))
        side = max(largest, min(height, width, self._crop))
        top, left = self._dice.randint(0, height - side), self._dice.randint(0, width - side)
        flip = self._dice.random() < 0.5
        return tuple(self._fitted(p[top : top + side, left : left + side], flip) for p in pictures)

    def _fitted(self, square: Pixels, flip: bool) -> Pixels:
        sized = cv2.resize(square, (self._crop, self._crop), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(sized[:, ::-1] if flip else sized, dtype=np.uint8)


def softened(pixels: Pixels, sigma: float) -> Pixels:
    """Slightly softened, as by a decoder."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def seen_cells(clean: Pixels, marked: Pixels, layer: Layer) -> NDArray[np.int8]:
    """1 if a mark must be found in the cell, -1 if it is hardly visible, 0 without a mark."""
    change = _change(clean, marked) * (layer.opacity[..., 0] > 0.02)
    level, covered = _cell_mean(change), _cell_mean(layer.opacity[..., 0]) > 0
    least = SEEN if contrast(clean, marked, layer) >= VISIBLE else np.inf
    return np.where(level >= least, 1, np.where(covered, -1, 0)).astype(np.int8)


def contrast(clean: Pixels, marked: Pixels, layer: Layer) -> float:
    """The mean difference in grey levels between a mark's strokes and what is under them."""
    ink = layer.opacity[..., 0] > layer.opacity.max() / 2
    return float(_change(clean, marked)[ink].mean()) if ink.any() else 0.0


def _change(clean: Pixels, marked: Pixels) -> NDArray[np.float32]:
    """The difference of each pixel in grey levels, [H, W]."""
    difference = marked.astype(np.float32) - clean.astype(np.float32)
    return np.asarray(np.abs(difference).mean(2), np.float32)


def _no_cells(output: Pixels) -> NDArray[np.int8]:
    return np.zeros((output.shape[0] // CELL, output.shape[1] // CELL), np.int8)


def _cell_mean(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (side // CELL for side in plane.shape)
    cells = plane[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL)
    return np.asarray(cells.mean((1, 3)), np.float32)
