"""What of a photo has to survive any engine: transparency, grey, the kind of file, who took it."""

import io

import numpy as np
import pytest
from PIL import Image

from shared.formats import fitting_format, settled_format
from shared.jobs import About, Source
from shared.kept import KeptAs, read_kept, read_kept_alpha, read_kept_whole, write_kept
from shared.params import AskedFormat, ImageFormat, JobParams
from worker.engine.interface import Pixels
from worker.job.grey import kept_grey
from worker.job.outputs import encode_preview, encode_result, finished_file
from worker.job.transparency import Alpha, fitted_alpha, seen

ABOUT = About(
    taken_at="2026:01:02 03:04:05",
    offset="+08:00",
    author="Ada",
    copyright="(c) Ada",
    dpi=(300.0, 300.0),
)


def noise(width: int = 48, height: int = 40, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(width: int = 48, height: int = 40) -> Alpha:
    return np.asarray(Image.linear_gradient("L").resize((width, height)))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def source(kind: str = "png") -> Source:
    blob = {"image_id": "0" * 64, "blob": "sources/x", "size_bytes": 1}
    return Source(**blob, width=48, height=40, format=kind, about=ABOUT)


@pytest.mark.parametrize("kept_as", ["ppm", "webp"])
def test_colours_and_alpha_of_a_kept_upload_come_back_bit_for_bit(kept_as: KeptAs) -> None:
    colours, alpha = Image.fromarray(noise()), Image.fromarray(gradient())

    kept = write_kept(colours, alpha, kept_as)

    again = read_kept_alpha(kept)
    assert again is not None
    assert read_kept(kept).tobytes() == colours.tobytes()
    assert again.tobytes() == alpha.tobytes()
    assert read_kept_whole(kept).mode == "RGBA"
    assert read_kept_alpha(write_kept(colours, None, kept_as)) is None


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_alpha_is_put_back_enlarged_with_the_picture(image_format: ImageFormat) -> None:
    large, alpha = noise(96, 80), gradient()

    data = encode_result(large, JobParams(), image_format, fitted_alpha(alpha, large))

    made = np.asarray(opened(data).getchannel("A")).astype(int)
    wanted = np.asarray(Image.fromarray(alpha).resize((96, 80), Image.Resampling.LANCZOS))
    assert np.abs(made - wanted).max() == 0


def test_a_preview_has_the_photo_s_transparency() -> None:
    assert opened(encode_preview(noise(), gradient())).mode == "RGBA"


def test_a_jpeg_of_something_transparent_is_white_and_that_is_said() -> None:
    nothing = np.zeros((40, 48), dtype=np.uint8)

    file = finished_file(noise(), JobParams(format="jpeg"), source(), nothing)

    assert file.given_up == ["alpha_filled"]
    assert opened(file.data).convert("RGB").getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize(
    ("asked", "width", "has_alpha", "becomes"),
    [
        ("webp", 16_383, False, "webp"),
        ("webp", 16_384, False, "jpeg"),
        ("webp", 16_384, True, "png"),
        ("jpeg", 65_501, False, "png"),
        ("webp", 65_501, False, "png"),
    ],
)
def test_a_format_that_cannot_hold_the_picture_gives_way_to_one_that_can_and_that_is_said(
    asked: AskedFormat, width: int, has_alpha: bool, becomes: ImageFormat
) -> None:
    alpha = np.full((16, width), 128, np.uint8) if has_alpha else None

    file = finished_file(noise(width, 16), JobParams(format=asked), source("webp"), alpha)

    assert file.format == becomes
    assert file.given_up == ([] if becomes == asked else ["other_format"])
    made = opened(file.data)
    assert (str(made.format).lower(), made.size) == (becomes, (width, 16))
    assert (made.mode == "RGBA") is has_alpha


def test_guards_see_white_letters_on_nothing() -> None:
    white, alpha = np.full((40, 48, 3), 255, dtype=np.uint8), np.zeros((40, 48), dtype=np.uint8)
    alpha[10:20, 10:30] = 255

    assert np.ptp(seen(white, alpha)) > 100
    assert seen(white, None) is white


def test_light_is_weighed_over_all_rows_of_a_tall_picture() -> None:
    dark, light = np.zeros((300, 16, 3), np.uint8), np.full((600, 16, 3), 250, np.uint8)
    tall, alpha = np.concatenate([dark, light]), np.full((900, 16), 128, np.uint8)

    assert seen(tall, alpha)[0, 0, 0] == 16  # on dark: most of it is light


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_a_grey_photo_comes_back_grey_in_every_format(image_format: ImageFormat) -> None:
    grey = np.repeat(noise()[..., :1], 3, axis=2)

    made = kept_grey(grey, noise(seed=1))
    pixels = np.asarray(opened(encode_result(made, JobParams(), image_format)).convert("RGB"))

    assert np.ptp(pixels.astype(int), axis=2).max() == 0


def test_a_photo_with_any_colour_is_left_as_it_was_made() -> None:
    coloured = np.repeat(noise()[..., :1], 3, axis=2)
    coloured[-1, -1] = (1, 2, 3)
    made = noise(seed=1)

    assert kept_grey(coloured, made) is made


@pytest.mark.parametrize(
    ("asked", "came", "has_alpha", "becomes"),
    [
        ("auto", "jpeg", False, "jpeg"),
        ("auto", "heic", False, "jpeg"),
        ("auto", "heic", True, "png"),
        ("auto", "png", False, "png"),
        ("auto", "webp", False, "webp"),
        ("auto", "webp", True, "png"),
        ("auto", "tiff", False, "webp"),
        ("jpeg", "png", True, "jpeg"),
    ],
)
def test_the_file_is_of_the_kind_that_came(
    asked: AskedFormat, came: str, has_alpha: bool, becomes: str
) -> None:
    assert settled_format(asked, came, has_alpha, 4000) == becomes


def test_a_side_that_webp_cannot_hold_becomes_a_jpeg_or_with_alpha_a_png() -> None:
    assert settled_format("auto", "webp", False, 20_000) == "jpeg"
    assert fitting_format("webp", 20_000, has_alpha=True) == "png"
    assert fitting_format("jpeg", 70_000) == "png"


def test_a_jpeg_has_its_colours_at_full_size() -> None:
    stripes = np.zeros((40, 48, 3), dtype=np.uint8)
    stripes[:, ::2, 0] = 255

    made = np.asarray(opened(encode_result(stripes, JobParams(), "jpeg")).convert("RGB"))

    assert np.abs(made.astype(int) - stripes).mean() < 8


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_date_author_copyright_and_resolution_are_kept_on_request_alone(
    image_format: ImageFormat,
) -> None:
    kept = opened(encode_result(noise(), JobParams(metadata="keep"), image_format, None, ABOUT))
    bare = encode_result(noise(), JobParams(), image_format, None, ABOUT)

    exif = kept.getexif()
    assert (exif[0x013B], exif[0x8298], exif[0x0132]) == ("Ada", "(c) Ada", ABOUT.taken_at)
    assert exif.get_ifd(0x8769)[0x9003] == ABOUT.taken_at
    assert round(float(exif[0x011A])) == 300
    assert dict(opened(bare).getexif()) == {}
    assert b"Ada" not in bare
