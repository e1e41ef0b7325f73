"""A mask limits where the result replaces the photo; elsewhere not one level changes."""

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.blobs import BlobStore
from shared.jobs import Job, JobState, Mask
from tests.unit.upscalers.upscaler_files import FOLDED
from tests.unit.worker.job.conftest import RunJob, catalog_of
from worker.engine.interface import Pixels
from worker.engine.testing.fake import fake_enlarged
from worker.job.masking import Masking, feathered

WIDTH, HEIGHT = 64, 48


def left_half(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    levels = np.zeros((height, width), np.uint8)
    levels[:, : width // 2] = 255
    return levels


def png(levels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "PNG")
    return out.getvalue()


def noise(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def stored(blobs: BlobStore, levels: Pixels) -> Mask:
    data = png(levels)
    name = f"masks/{sha256(data).hexdigest()}"
    blobs.put(name, data)
    return Mask(blob=name, width=levels.shape[1], height=levels.shape[0], size_bytes=len(data))


def picture_of(blobs: BlobStore, job: Job) -> Pixels:
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.result is not None
    return np.asarray(Image.open(io.BytesIO(blobs.get(job.result.blob))).convert("RGB"))


def source_of(blobs: BlobStore, job: Job) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(blobs.get(job.spec.source.blob))).convert("RGB"))


def test_the_result_replaces_the_photo_where_the_mask_is_white_and_nowhere_else(
    run: RunJob, blobs: BlobStore, tmp_path: Path
) -> None:
    job = run(catalog_of(tmp_path), upscale=1, format="png", mask=stored(blobs, left_half()))
    plain = run(catalog_of(tmp_path), upscale=1, format="png", seed=job.params.seed)

    made, photo, whole = picture_of(blobs, job), source_of(blobs, job), picture_of(blobs, plain)
    assert (made[:, WIDTH // 2 :] == photo[:, WIDTH // 2 :]).all()
    assert (made[:, : WIDTH // 2 - 2] == whole[:, : WIDTH // 2 - 2]).all()
    assert not (made[:, : WIDTH // 2] == photo[:, : WIDTH // 2]).any(axis=2).all()


@pytest.mark.parametrize("base", ["tiny", "sd15"])
def test_an_enlarged_result_has_the_enlarged_photo_where_the_mask_is_black(
    run: RunJob, blobs: BlobStore, tmp_path: Path, base: str
) -> None:
    network = catalog_of(tmp_path, retouch=FOLDED)
    job = run(network, base, upscale=2, format="png", mask=stored(blobs, left_half()))

    made, larger = picture_of(blobs, job), fake_enlarged(source_of(blobs, job), 2)
    assert made.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert (made[:, WIDTH:] == larger[:, WIDTH:]).all()
    assert (made[:, :WIDTH] != larger[:, :WIDTH]).any()


def test_a_mask_of_another_size_is_scaled_to_the_photo(
    run: RunJob, blobs: BlobStore, tmp_path: Path
) -> None:
    job = run(catalog_of(tmp_path), upscale=1, format="png", mask=stored(blobs, left_half(8, 8)))

    made, photo = picture_of(blobs, job), source_of(blobs, job)
    assert (made[:, WIDTH // 2 :] == photo[:, WIDTH // 2 :]).all()
    assert (made[:, :8] != photo[:, :8]).any()


def test_a_job_scaled_down_keeps_the_scaled_photo(
    run: RunJob, blobs: BlobStore, tmp_path: Path
) -> None:
    black = stored(blobs, np.zeros((HEIGHT, WIDTH), np.uint8))
    job = run(catalog_of(tmp_path), upscale=1, max_side=64, format="png", mask=black)

    assert (picture_of(blobs, job) == source_of(blobs, job)).all()


def test_the_preview_respects_the_mask(run: RunJob, blobs: BlobStore, tmp_path: Path) -> None:
    black = stored(blobs, np.zeros((HEIGHT, WIDTH), np.uint8))
    job = run(catalog_of(tmp_path), upscale=1, preview=True, mask=black)

    assert job.preview is not None
    shown = Image.open(io.BytesIO(blobs.get(job.preview.blob))).convert("RGB")
    photo = Image.fromarray(source_of(blobs, job)).resize(shown.size, Image.Resampling.LANCZOS)
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(photo))
    assert difference.mean() < 30  # lossy WebP of noise; the inverted picture is 100 away


def test_guards_see_the_picture_that_is_given_out(
    run: RunJob, blobs: BlobStore, tmp_path: Path
) -> None:
    seen: list[Pixels] = []
    black = stored(blobs, np.zeros((HEIGHT, WIDTH), np.uint8))
    job = run(catalog_of(tmp_path), upscale=1, guard=Seeing(seen), mask=black)

    assert (seen[-1] == source_of(blobs, job)).all()


class Seeing:
    def __init__(self, seen: list[Pixels]) -> None:
        self._seen = seen

    def score(self, pixels: Pixels) -> float:
        self._seen.append(pixels)
        return 0.0


def test_a_large_white_part_fades_in_from_its_edge_and_never_beyond_it() -> None:
    mask = left_half(512, 512)
    share = feathered(mask)

    assert share[256, 255] == 64
    assert share[256, 252] == share[256, 0] == 255
    assert (np.diff(share[256, 252:257].astype(int)) < 0).all()
    assert not share[mask == 0].any()


def test_a_thin_stroke_is_replaced_in_full_at_its_middle() -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[:, 100:103] = 255

    assert feathered(mask)[256, 100:103].tolist() == [128, 255, 128]


def test_a_white_mask_is_none() -> None:
    photo, made = noise(), noise(seed=1)
    white = Masking(png(np.full((3, 5), 255, np.uint8)))

    assert (white.composed(photo, made) == made).all()


def test_a_grey_mask_mixes() -> None:
    photo, made = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 200, np.uint8)
    grey = Masking(png(np.full((48, 64), 128, np.uint8)))

    assert (np.abs(grey.composed(photo, made).astype(int) - 100) <= 1).all()


def test_no_part_of_a_large_picture_s_black_is_reached_by_a_small_mask() -> None:
    photo, made = noise(1500, 1000), noise(1500, 1000, seed=1)
    mask = left_half(300, 200)

    out = Masking(png(mask)).composed(photo, made)

    assert (out[:, 750:] == photo[:, 750:]).all()
    assert (out[:, :700] == made[:, :700]).all()
