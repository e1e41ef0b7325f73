"""The watermark network's training: marks, cases, the split, and a network that can be used."""

import random
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from shared.settings import REPOSITORY
from tests.support.marked import photo
from worker.guards.mark_features import (
    CELL,
    CHANNELS,
    MAX_SIDE,
    SMALLEST_SIDE,
    channels,
    prepared,
    score,
)
from worker.guards.marks import MarkDetector
from worker.training.marks import examples as cases
from worker.training.marks import train as training
from worker.training.marks.evaluation import curve
from worker.training.marks.examples import Examples
from worker.training.marks.export import export
from worker.training.marks.laying import KINDS, Kind, Layer, draw_layer
from worker.training.marks.material import split
from worker.training.marks.recipe import read_recipe
from worker.training.marks.stencils import Palette, Stencil
from worker.training.marks.train import train
from worker.training.photos import Photo

RECIPE = REPOSITORY / "models" / "watermark" / "recipe.toml"
CROP = 96


@pytest.fixture(scope="module")
def palette(tmp_path_factory: pytest.TempPathFactory) -> Palette:
    font = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    icon = tmp_path_factory.mktemp("icons") / "icon.png"
    Image.new("RGBA", (48, 48), (200, 30, 30, 255)).save(icon)
    return Palette((font,), (font,), (icon,))


@pytest.fixture
def source(palette: Palette) -> Examples:
    photos = [Photo("chelsea", photo("chelsea", 288)), Photo("coffee", photo("coffee", 288))]
    pairs = [(photo("rocket", 192), photo("rocket", 192))]
    return Examples(photos, pairs, palette, CROP, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_of_every_kind_shows_at_its_opacity(kind: Kind, palette: Palette) -> None:
    layer = draw_layer((200, 240), kind, 0.5, palette, random.Random(3))
    assert layer.opacity.max() <= 0.5
    assert layer.opacity.max() > 0.2
    before = photo()[:200, :240]
    assert np.any(layer.over(before) != before)


def test_what_lies_outside_of_the_picture_is_cut_off() -> None:
    layer = Layer(20, 20)
    layer.put(Stencil(np.ones((10, 10), np.float32), np.zeros((10, 10, 3), np.float32)), -4, 15, 1)
    layer.put(Stencil(np.ones((10, 10), np.float32), np.zeros((10, 10, 3), np.float32)), 40, 40, 1)
    assert int(layer.opacity.sum()) == 6 * 5


@pytest.mark.parametrize(("case", "marked"), [("added", True), ("kept", False), ("removed", False),
                                              ("none", False)])  # fmt: skip
def test_only_a_mark_that_was_added_is_to_be_found(
    case: str, marked: bool, source: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "SHARES", [float(case == name) for name in cases.CASES])
    drawn = [source.draw() for _ in range(24)]
    assert any(example.is_marked for example in drawn) is marked
    for example in drawn:
        assert example.planes.shape == (CHANNELS, CROP, CROP)
        assert example.cells.shape == (CROP // CELL, CROP // CELL)


def test_the_split_is_the_same_in_every_run_and_shares_no_photo() -> None:
    photos = [Photo(str(number), np.zeros((1, 1, 3), np.uint8)) for number in range(100)]
    recipe = read_recipe(RECIPE)
    parts = split(photos, recipe)
    names = [photo.name for part in (parts.training, parts.calibration, parts.held_out)
             for photo in part]  # fmt: skip
    assert sorted(names) == sorted(photo.name for photo in photos)
    assert (len(parts.held_out), len(parts.calibration)) == (20, 10)
    assert split(photos, recipe) == parts


def test_no_package_of_fonts_or_logos_is_both_trained_on_and_held_out() -> None:
    recipe = read_recipe(RECIPE)
    for kind in (recipe.fonts, recipe.logos):
        assert not set(kind.training) & set(kind.held_out)


def test_a_network_is_trained_kept_taken_up_again_and_read_at_any_size(
    source: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a training that was stopped after its second step
    monkeypatch.setattr(training, "KEEP_EVERY", 2)
    recipe = read_recipe(RECIPE).__class__(**{**vars(read_recipe(RECIPE)), "steps": 3, "batch": 2})
    steps: list[int] = []
    train(recipe, source, tmp_path, lambda step, _loss: steps.append(step))
    # When it is taken up
    network = train(recipe, source, tmp_path, lambda step, _loss: steps.append(step))
    # Then only the missing step is done again, and its file reads pictures of any size
    assert steps == [1, 2, 3, 3]
    export(network, tmp_path / "marks.onnx")
    detector = MarkDetector(tmp_path / "marks.onnx")
    for size in ((33, 50), (320, 320)):
        one = np.zeros((*size, 3), np.uint8)
        assert 0 <= detector.score(one, one) <= 1


def test_pictures_are_seen_in_whole_cells_at_the_working_size() -> None:
    result = np.zeros((1000, 1500, 3), np.uint8)
    for given, side in ((result, MAX_SIDE), (photo("coffee", 100), SMALLEST_SIDE)):
        planes = prepared(given, result)
        assert planes.shape[0] == CHANNELS
        assert planes.shape[2] == side
        assert planes.shape[1] % CELL == 0


def test_one_sure_cell_alone_is_an_accident() -> None:
    logits = np.full((8, 8), -6.0, np.float32)
    logits[0, 0] = 8
    assert score(logits) < 0.25
    logits[:2, :2] = 8
    assert score(logits) > 0.9


def test_the_curve_gives_recall_at_a_rate_of_false_alarms() -> None:
    clean, marked = np.linspace(0, 0.5, 101), np.array([0.1, 0.45, 0.6, 0.9])
    points = {point["false_alarms"]: point["recall"] for point in curve(clean, marked)}
    assert points[0.0] == 0.5
    assert max(points) > 0.05


def test_the_channels_are_numbers_beside_noise_too() -> None:
    # Running sums over the noise end a little below zero where the picture is flat
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:, :60] = np.random.default_rng(0).integers(0, 255, (200, 60, 3), dtype=np.uint8)
    assert np.isfinite(channels(pixels, pixels)).all()
