"""The before/after picture."""

from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from retouch.compare import GAP, LABEL_HEIGHT, before_after

pillow_heif.register_heif_opener()


def encoded(colour: tuple[int, int, int], size: tuple[int, int], orientation: int = 1) -> bytes:
    image = Image.new("RGB", size, colour)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = BytesIO()
    image.save(data, "PNG", exif=exif)
    return data.getvalue()


def test_both_pictures_stand_side_by_side_at_the_enhanced_size() -> None:
    sheet = Image.open(
        BytesIO(before_after(encoded((9, 0, 0), (8, 6)), encoded((0, 9, 0), (40, 30))))
    )
    assert sheet.size == (40 * 2 + GAP * 3, 30 + LABEL_HEIGHT + GAP)
    middle = LABEL_HEIGHT + 15
    assert sheet.getpixel((GAP + 20, middle)) == (9, 0, 0)
    assert sheet.getpixel((GAP * 2 + 40 + 20, middle)) == (0, 9, 0)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "TIFF"])
def test_a_photo_of_any_kind_that_is_taken_can_be_compared(kind: str) -> None:
    data = BytesIO()
    Image.new("RGB", (64, 64), (200, 10, 10)).save(data, kind)
    sheet = Image.open(BytesIO(before_after(data.getvalue(), encoded((0, 9, 0), (64, 64)))))
    red = sheet.getpixel((GAP + 32, LABEL_HEIGHT + 32))
    assert isinstance(red, tuple)
    assert abs(red[0] - 200) <= 4


def test_depth_is_scaled_and_what_is_transparent_is_white() -> None:
    deep, clear = BytesIO(), BytesIO()
    Image.new("I;16", (8, 8), 32_896).save(deep, "PNG")
    Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(clear, "PNG")
    sheet = Image.open(BytesIO(before_after(deep.getvalue(), clear.getvalue())))
    assert sheet.getpixel((GAP + 4, LABEL_HEIGHT + 4)) == (128, 128, 128)
    assert sheet.getpixel((GAP * 2 + 8 + 4, LABEL_HEIGHT + 4)) == (255, 255, 255)


def test_the_photo_is_turned_upright_before_it_is_compared() -> None:
    # Given a photo that is stored lying on its side, bright on the left
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    data = BytesIO()
    Image.fromarray(stored).save(data, "PNG", exif=exif)
    # When
    sheet = Image.open(BytesIO(before_after(data.getvalue(), encoded((0, 9, 0), (20, 40)))))
    # Then it is bright at the top
    assert sheet.getpixel((GAP + 10, LABEL_HEIGHT + 5)) == (255, 255, 255)
    assert sheet.getpixel((GAP + 10, LABEL_HEIGHT + 35)) == (0, 0, 0)


def test_both_names_are_written_above_the_pictures() -> None:
    sheet = Image.open(
        BytesIO(before_after(encoded((9, 0, 0), (80, 60)), encoded((0, 9, 0), (80, 60))))
    )
    labels = np.asarray(sheet.convert("L"))[:LABEL_HEIGHT]
    assert (labels[:, : GAP + 80] < 128).any()
    assert (labels[:, GAP * 2 + 80 :] < 128).any()
