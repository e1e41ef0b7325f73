"""Watermarks: an alarm for one that was added to a photo that no training has seen, else none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.support.marked import photo, with_code, with_text
from worker.engine.interface import Pixels
from worker.guards import marks
from worker.guards.marks import MarkGuard, mark_detector
from worker.training.damage import KINDS, RANGES, Kind, degrade
from worker.training.damage.blurring import gaussian

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def guard() -> MarkGuard:
    return MarkGuard()


def tiled(pixels: Pixels, opacity: float = 0.4) -> Pixels:
    marked = pixels
    for size, text in ((18, "stock"), (40, "PREVIEW")):
        marked = with_text(marked, text, size, opacity)
    return marked


def with_badge(pixels: Pixels, opacity: float = 0.5) -> Pixels:
    """A dark plate with a ring in it, in the lower right corner."""
    picture = Image.fromarray(pixels).convert("RGBA")
    layer = Image.new("RGBA", picture.size)
    draw, ink = ImageDraw.Draw(layer), round(255 * opacity)
    right, bottom = picture.width - 10, picture.height - 10
    draw.rounded_rectangle((right - 90, bottom - 34, right, bottom), 8, fill=(0, 0, 0, ink))
    ring = (right - 84, bottom - 30, right - 58, bottom - 4)
    draw.ellipse(ring, outline=(255, 255, 255, ink), width=4)
    return np.asarray(Image.alpha_composite(picture, layer).convert("RGB"))


MARKED = {
    "text": lambda pixels: with_text(pixels, "Photo by Jane", 24, 0.5),
    "tiled": tiled,
    "code": with_code,
    "badge": with_badge,
}


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kind", MARKED)
def test_a_mark_that_was_added_is_an_alarm(kind: str, name: str, guard: MarkGuard) -> None:
    assert guard.added(photo(name), MARKED[kind](photo(name)))


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kind", MARKED)
def test_a_mark_that_the_photo_had_is_none(kind: str, name: str, guard: MarkGuard) -> None:
    marked = MARKED[kind](photo(name))
    assert guard.added(marked, marked) == []
    assert guard.added(gaussian(marked, 0.7), marked) == []


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kind", ["text", "tiled"])
def test_a_mark_that_is_gone_is_none(kind: str, name: str, guard: MarkGuard) -> None:
    assert guard.added(MARKED[kind](photo(name)), photo(name)) == []


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_that_is_undone_is_none(kind: Kind, name: str, guard: MarkGuard) -> None:
    harmed = degrade(photo(name), kind, RANGES[kind].middle, np.random.default_rng(0))
    assert guard.added(harmed, photo(name)) == []


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("kind", MARKED)
def test_a_mark_in_an_enlarged_result_is_an_alarm(kind: str, name: str, guard: MarkGuard) -> None:
    assert guard.added(photo(name), enlarged(MARKED[kind](photo(name)), 2))


@pytest.mark.parametrize("name", PHOTOS)
def test_the_detail_of_an_enlarged_result_is_no_mark(name: str, guard: MarkGuard) -> None:
    small = np.ascontiguousarray(photo(name)[::2, ::2])
    assert guard.added(gaussian(small, 1), with_more_contrast(enlarged(small, 4))) == []


def enlarged(pixels: Pixels, factor: int) -> Pixels:
    height, width = pixels.shape[:2]
    size = (width * factor, height * factor)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def with_more_contrast(pixels: Pixels) -> Pixels:
    """Fine edges as an enlarger draws them."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(3, 250, 0)))


def test_a_pair_is_looked_at_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(marks, "score", lambda cells: looks.append(1) or float(cells.max()))
    detector, before, after = mark_detector(), photo(), photo("coffee")
    first = detector.score(before, after)
    assert detector.score(before, after) == first
    assert len(looks) == 1
    detector.score(after, before)
    assert len(looks) == 2


def test_weights_or_thresholds_that_are_not_there_end_the_start(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"marks\.onnx"):
        MarkGuard(folder=tmp_path)
