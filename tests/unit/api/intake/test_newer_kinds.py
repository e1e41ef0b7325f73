"""HEIC, AVIF, TIFF and rarer JPEGs: what is in use is taken, what is cut off or lies is said."""

import base64
import struct
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from PIL import Image

from api.intake.decoder import Decoders, Normalised
from api.intake.header import read_header
from shared.errors import RetouchError
from shared.kept import read_kept, read_kept_alpha
from tests.support.containers import arranged, depth_image, grid_of_tiles
from tests.support.hostile_pictures import saved
from tests.support.mutations import originals

MOST_PIXELS = 1_000_000
# 32 x 32, red from the left and green from above; libjpeg reads arithmetic coding, Pillow writes
# none.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEB"
    "YQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBT/yQARCAAgACADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AObaR3TIyL"
    "3nQ86cFhgVliQZ+79oUfRkDA7FJZvzRoVvdLW+LmgWG4Iq7aWSNX/11ZvVF4ZeWw/xYRJsyEP+Z1Fia2z6ek2xYVpN97+B"
    "aI9XvRYt8dXWXS3QSX3+fb0S5coF3Qrxor3ectpBWqPK/9k="
)
ARITHMETIC_PROGRESSIVE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEB"
    "YQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBT/ygARCAAgACADASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAf8AzXwl72lQyLRlY6"
    "gvQp9o2UHq+eL410zoSCfA/8wABBAF/9oACAEBAAEFAhRBVrzV3F8aclQXdjXDsjEYjEYjIP/MAAQRBf/aAAgBAwEBPwEW"
    "Iuyq0fO2PBxAKP/MAAQRBf/aAAgBAgEBPwE1SQe7Nr5euP/MAAQQBf/aAAgBAQAGPwKw/8wABBAF/9oACAEBAAE/IdNCO5"
    "bn+9go6HPI/9oADAMBAAIAAwAAABBIG6z/zAAEEQX/2gAIAQMBAT8Q0yor/8wABBEF/9oACAECAQE/EE6zYrD/zAAEEAX/"
    "2gAIAQEAAT8QJ7aQE4WcBAO8iQ0HG//Z"
)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(MOST_PIXELS)
    yield pool
    pool.close()


def taken(decoders: Decoders, data: bytes) -> Normalised:
    return decoders.normalise(data, read_header(data).kind)


def outcome(decoders: Decoders, data: bytes) -> str:
    try:
        taken(decoders, data)
    except RetouchError as error:
        return error.code
    return "taken"


def pixels(decoders: Decoders, data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.asarray(read_kept(taken(decoders, data).data)).astype(np.int64)


def noise() -> Image.Image:
    grey = Image.effect_noise((48, 40), 90)
    return Image.merge("RGB", [grey, grey.rotate(90), grey.rotate(180)])


@pytest.mark.parametrize("data", [ARITHMETIC, ARITHMETIC_PROGRESSIVE], ids=["plain", "progressive"])
def test_a_jpeg_with_arithmetic_coding_is_taken(decoders: Decoders, data: bytes) -> None:
    found = pixels(decoders, data)

    ramp = np.arange(32) * 8
    assert np.abs(found[:, :, 0] - ramp).max() <= 12
    assert np.abs(found[:, :, 1] - ramp[:, None]).max() <= 12
    assert outcome(decoders, data[:-2]) == outcome(decoders, data[:-60]) == "image_truncated"


TIFFS: dict[str, Callable[[Image.Image], bytes]] = {
    "lzw": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "lzw-predictor": lambda image: saved(image, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
    "deflate": lambda image: saved(image, "TIFF", compression="tiff_adobe_deflate"),
    "packbits": lambda image: saved(image, "TIFF", compression="packbits"),
    "big": lambda image: saved(image, "TIFF", big_tiff=True),
    "tiles": lambda image: arranged(image, tile=(16, 16)),
    "planes": lambda image: arranged(image, planarconfig="separate"),
    "deep": lambda image: arranged(image, is_deep=True),
    "deep-planes": lambda image: arranged(image, is_deep=True, planarconfig="separate"),
    "deep-planes-motorola": lambda image: arranged(
        image, is_deep=True, planarconfig="separate", byteorder=">"
    ),
    "deep-planes-tiles": lambda image: arranged(
        image, is_deep=True, planarconfig="separate", tile=(16, 16)
    ),
    "motorola": lambda image: arranged(image, byteorder=">"),
    "lzw-tiles": lambda image: arranged(image, tile=(16, 16), compression="adobe_deflate"),
}


@pytest.mark.parametrize("make", TIFFS.values(), ids=TIFFS)
def test_a_tiff_of_every_compression_and_arrangement_is_taken_pixel_by_pixel(
    decoders: Decoders, make: Callable[[Image.Image], bytes]
) -> None:
    image = noise()

    assert np.array_equal(pixels(decoders, make(image)), np.asarray(image))


@pytest.mark.parametrize("is_deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_a_tiff_in_planes_keeps_its_transparency(
    decoders: Decoders, alpha: str, is_deep: bool
) -> None:
    image = noise()
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda a: 255 * (a > 99)))
    how = {"planarconfig": "separate", "extrasamples": [alpha]}

    kept = taken(decoders, arranged(image, is_deep=is_deep, **how)).data

    alpha_found = read_kept_alpha(kept)
    seen = np.asarray(image)[:, :, 3] > 0
    assert alpha_found is not None
    assert np.array_equal(np.asarray(alpha_found) > 0, seen)
    assert np.array_equal(np.asarray(read_kept(kept))[seen], np.asarray(image)[seen][:, :3])


def test_a_print_in_sixteen_bits_and_planes_has_the_colours_of_one_in_eight(
    decoders: Decoders,
) -> None:
    image = noise().convert("CMYK")
    how = {"planarconfig": "separate", "photometric": "separated"}

    found = pixels(decoders, arranged(image, is_deep=True, **how))

    assert np.array_equal(found, pixels(decoders, saved(image, "TIFF")))


def test_the_depth_map_beside_a_portrait_changes_nothing_about_it(decoders: Decoders) -> None:
    found = taken(decoders, depth_image())

    assert (found.width, found.height, found.has_alpha) == (64, 64, False)


def test_a_heic_in_tiles_as_telephones_write_it_is_taken(decoders: Decoders) -> None:
    data = grid_of_tiles(3, 4, (250, 180))

    found = pixels(decoders, data)

    assert found.shape == (180, 250, 3)
    assert np.abs(found[:64, :64] - found[64:128, 128:192]).max() <= 2


@pytest.mark.parametrize("kind", ["heic", "avif", "tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_what_broke_off_on_the_way_is_called_truncated(
    decoders: Decoders, kind: str, share: float
) -> None:
    for number, data in enumerate(originals()[kind][:4]):
        assert outcome(decoders, data[: int(len(data) * share)]) == "image_truncated", number


@pytest.mark.parametrize("position", [2**32, 2**63, 2**64 - 1])
def test_a_bigtiff_whose_directory_lies_far_beyond_it_is_called_truncated(
    decoders: Decoders, position: int
) -> None:
    whole = saved(noise(), "TIFF", big_tiff=True)
    assert whole[:4] == b"II+\0"
    assert outcome(decoders, whole[:8] + struct.pack("<Q", position) + whole[16:]) == (
        "image_truncated"
    )


def test_every_cut_of_every_kind_is_taken_or_refused_in_words(decoders: Decoders) -> None:
    right = {"taken", "invalid_image", "image_truncated", "unsupported_media_type"}
    for pictures in originals().values():
        for data in pictures:
            for part in range(1, 8):
                assert outcome(decoders, data[: len(data) * part // 8]) in right


def with_size(data: bytes, size: tuple[int, int]) -> bytes:
    """The same HEIC or AVIF, said to have another size."""
    changed, at = bytearray(data), 0
    while (at := changed.find(b"ispe", at)) >= 0:
        changed[at + 8 : at + 16] = struct.pack("!II", *size)
        at += 4
    return bytes(changed)


def tile_bomb() -> bytes:
    """A TIFF of 48 x 40 whose one tile is said to have a million pixels on a side."""
    data = bytearray(arranged(noise(), tile=(16, 16)))
    for tag in (322, 323):
        at = max(data.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 2**20)
    return bytes(data)


BOMBS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "grid-of-65535": (
        lambda: grid_of_tiles(60, 60, (65_535, 65_535), (64, 64)),
        {"invalid_image", "image_too_large"},
    ),
    "grid-of-a-tile": (
        lambda: grid_of_tiles(1, 1, (4000, 4000), (64, 64)),
        {"invalid_image", "image_too_large"},
    ),
    "heic-that-lies": (
        lambda: with_size(saved(Image.new("RGB", (1200, 1200), "teal"), "HEIF"), (64, 64)),
        {"invalid_image", "image_too_large"},
    ),
    "avif-that-lies": (
        lambda: with_size(
            saved(Image.new("RGB", (2400, 2400), "teal"), "AVIF", speed=10), (64, 64)
        ),
        {"invalid_image", "image_too_large", "taken"},
    ),
    "tiff-with-a-huge-tile": (tile_bomb, {"invalid_image", "image_truncated"}),
    "gif-with-a-huge-frame": (
        lambda: saved(Image.new("P", (2000, 2000)), "GIF").replace(
            struct.pack("<HH", 2000, 2000), struct.pack("<HH", 64, 64), 1
        ),
        {"image_too_large", "invalid_image"},
    ),
}


@pytest.mark.parametrize(("make", "right"), BOMBS.values(), ids=BOMBS)
def test_a_picture_that_is_larger_than_it_says_is_refused_without_its_memory(
    decoders: Decoders, make: Callable[[], bytes], right: set[str]
) -> None:
    data = make()
    assert max(read_header(data).width, read_header(data).height) <= 64
    outcome(decoders, ARITHMETIC)  # a decoder that has started
    before = held()

    assert outcome(decoders, data) in right

    assert held() - before < 64 * 2**20
    assert outcome(decoders, ARITHMETIC) == "taken"


def held() -> int:
    """What this process and its decoders hold."""
    me = psutil.Process()
    return int(sum(one.memory_info().rss for one in (me, *me.children())))
