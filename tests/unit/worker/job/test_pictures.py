"""Pixels in and files out: sizes kept, formats right, nothing of the upload carried along."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from shared.errors import InvalidImage
from shared.params import JobParams, LoraRef
from tests.support.workers import picture
from worker.job.outputs import DIGITAL_SOURCE_TYPE, encode_preview, encode_result
from worker.job.sources import load_source, working_size

SETTLED = JobParams(seed=5, strength=0.4, prompt="a < b & c", loras=[LoraRef(name="denoise")])


@pytest.mark.parametrize(
    ("size", "params", "expected"),
    [
        ((400, 300), {}, (400, 300)),
        ((1536, 1024), {}, (768, 512)),
        ((100, 50), {"upscale": 2}, (100, 50)),
        ((5000, 16), {"max_side": 64}, (64, 1)),
    ],
)
def test_the_aspect_is_kept_and_nothing_grows_before_it_is_enlarged(
    size: tuple[int, int], params: dict[str, object], expected: tuple[int, int]
) -> None:
    assert working_size(size, JobParams.model_validate(params)) == expected


def test_a_stored_picture_comes_back_bit_for_bit() -> None:
    pixels = load_source(picture(40, 30, seed=2), JobParams())
    assert pixels.shape == (30, 40, 3)
    np.testing.assert_array_equal(pixels, load_source(picture(40, 30, seed=2), JobParams()))


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
