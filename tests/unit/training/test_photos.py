"""A folder of photos: what is read, what is skipped and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worker.training.errors import NoPhotos
from worker.training.photos import PhotoSet, load_photos, random_crop


def load(folder: Path) -> PhotoSet:
    return load_photos(folder, crop=32, held_out=2, max_side=512)


def test_a_folder_without_pictures_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NoPhotos, match=str(tmp_path)):
        load(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoPhotos, match="is not a folder"):
        load(tmp_path / "nowhere")


def test_pictures_that_cannot_be_read_are_named_and_skipped(
    photo_folder: Path, tmp_path: Path
) -> None:
    # Given good photos, a text under a picture's name, a torn file and one that is too small
    for number in range(3):
        name = f"photo{number}.png"
        (tmp_path / name).write_bytes((photo_folder / name).read_bytes())
    (tmp_path / "text.jpg").write_text("no picture")
    whole = (photo_folder / "photo5.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")

    found = load_photos(tmp_path, crop=32, held_out=1, max_side=512)

    assert len(found.training) + len(found.held_out) == 3
    assert set(found.skipped) == {"text.jpg", "torn.png", "small.png"}
    assert "smaller than the crop" in found.skipped["small.png"]


def test_no_photo_is_both_learnt_from_and_held_out(photo_folder: Path) -> None:
    found = load_photos(photo_folder, crop=32, held_out=3, max_side=512)
    learnt, held = ({p.name for p in photos} for photos in (found.training, found.held_out))
    assert len(held) == 3
    assert not learnt & held


def test_a_text_beside_a_picture_is_its_caption(photo_folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        name = f"photo{number}.png"
        (tmp_path / name).write_bytes((photo_folder / name).read_bytes())
    (tmp_path / "photo1.txt").write_text("a red boat\n")
    captions = [p.caption for p in load_photos(tmp_path, 32, 0, 512).training]
    assert captions == ["", "a red boat"]


def test_crops_repeat_with_the_seed(photo_folder: Path) -> None:
    photos = load_photos(photo_folder, 32, 0, 512).training
    first, second = (random_crop(photos, 32, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    assert first.pixels.shape == (32, 32, 3)
