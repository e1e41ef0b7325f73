"""Pixels in and files out: sizes kept, formats right, nothing of the upload carried along."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from shared.errors import InvalidImage
from shared.kept import KeptAs, write_kept
from shared.params import JobParams, LoraRef
from shared.sizes import fitting, result_size, working_size
from tests.support.workers import picture
from worker.job.outputs import DIGITAL_SOURCE_TYPE, encode_preview, encode_result
from worker.job.sources import load_source

SETTLED = JobParams(seed=5, strength=0.4, prompt="a < b & c", loras=[LoraRef(name="denoise")])


@pytest.mark.parametrize(
    ("size", "params", "expected"),
    [
        ((400, 300), {}, (400, 300)),
        ((4000, 3000), {}, (4000, 3000)),
        ((600, 9000), {}, (600, 9000)),
        ((1536, 1024), {"max_side": 768}, (768, 512)),
        ((100, 50), {"upscale": 2}, (200, 100)),
        ((1000, 500), {"upscale": 4, "max_side": 1024}, (1024, 512)),
        ((5000, 16), {"max_side": 64}, (64, 1)),
    ],
)
def test_the_aspect_is_kept_and_nothing_grows_unasked(
    size: tuple[int, int], params: dict[str, object], expected: tuple[int, int]
) -> None:
    wished = JobParams.model_validate(params)
    assert result_size(size, wished) == expected
    assert working_size(size, wished) == (min(size[0], expected[0]), min(size[1], expected[1]))


@pytest.mark.parametrize("size", [(9000, 8000), (65_535, 900), (1, 70_000_000), (7071, 7072)])
def test_the_size_that_would_pass_is_the_largest_of_its_shape_that_does(
    size: tuple[int, int],
) -> None:
    width, height = fitting(size, 50_000_000, 65_535)
    assert width * height <= 50_000_000
    assert max(width, height) <= 65_535
    larger = max(width, height) + 2
    assert larger > 65_535 or larger**2 * min(size) / max(size) > 50_000_000


def test_a_stored_picture_comes_back_bit_for_bit() -> None:
    pixels = load_source(picture(40, 30, seed=2), JobParams())
    assert pixels.shape == (30, 40, 3)
    np.testing.assert_array_equal(pixels, load_source(picture(40, 30, seed=2), JobParams()))


@pytest.mark.parametrize("alpha", [None, Image.linear_gradient("L").resize((41, 30))])
@pytest.mark.parametrize("kept_as", ["ppm", "webp"])
def test_a_picture_is_read_alike_however_it_is_stored(
    kept_as: KeptAs, alpha: Image.Image | None
) -> None:
    colours = Image.effect_noise((41, 30), 90).convert("RGB")
    stored = write_kept(colours, alpha, kept_as)
    pixels = load_source(stored, JobParams())
    np.testing.assert_array_equal(pixels, np.asarray(colours))
    assert not pixels.flags.writeable


@pytest.mark.parametrize("kept_as", ["ppm", "webp"])
def test_a_picture_is_scaled_down_alike_however_it_is_stored(kept_as: KeptAs) -> None:
    colours = Image.effect_noise((160, 120), 90).convert("RGB")
    pixels = load_source(write_kept(colours, None, kept_as), JobParams(max_side=80))
    wanted = np.asarray(colours.resize((80, 60), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize("length", [2, 9, 13, 400])
def test_bare_pixels_that_are_cut_off_fail_the_job(length: int) -> None:
    whole = write_kept(Image.new("RGB", (41, 30), "red"), None, "ppm")
    with pytest.raises(InvalidImage):
        load_source(whole[:length], JobParams())


def test_a_stored_picture_that_is_broken_fails_the_job() -> None:
    with pytest.raises(InvalidImage):
        load_source(b"RIFF\x00\x00\x00\x00WEBP", JobParams())


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_each_format_is_what_it_says_and_is_marked_as_made_with_ai(form: str, kind: str) -> None:
    pixels = load_source(picture(), JobParams())
    data = encode_result(pixels, SETTLED.model_copy(update={"format": form}))
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == (kind, (64, 48))
    assert DIGITAL_SOURCE_TYPE.encode() in data
    assert b"denoise" not in data


def test_png_keeps_every_pixel() -> None:
    pixels = load_source(picture(), JobParams())
    again = np.asarray(Image.open(io.BytesIO(encode_result(pixels, SETTLED))))
    np.testing.assert_array_equal(again, pixels)


def test_the_recipe_is_in_the_file_only_when_asked_for() -> None:
    pixels = load_source(picture(), JobParams())
    data = encode_result(pixels, SETTLED.model_copy(update={"embed_metadata": True}))
    xmp = Image.open(io.BytesIO(data)).info["XML:com.adobe.xmp"]
    text = xmp.split('urn:retouch:recipe">')[1].split("</retouch:recipe>")[0]
    recipe = json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert recipe["seed"] == 5
    assert recipe["prompt"] == "a < b & c"
    assert recipe["loras"] == [{"name": "denoise", "scale": 1.0}]


def test_a_preview_is_a_small_webp() -> None:
    data = encode_preview(load_source(picture(), JobParams()))
    assert Image.open(io.BytesIO(data)).format == "WEBP"
