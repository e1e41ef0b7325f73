"""What a photo states of its colours, its transparency and itself, on its way in."""

import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageCms

from api.intake.decoding import profiles
from api.intake.decoding.normalise import Order, normalise
from api.intake.decoding.opening import prepare
from api.intake.header import read_header
from shared.errors import AnimatedImage, UnsupportedMediaType
from shared.kept import read_kept, read_kept_alpha
from tests.support.containers import arranged
from tests.support.hostile_pictures import saved, spiked

Levels = npt.NDArray[np.float64]
Curve = Callable[[Levels], Levels]

STEPS = (0, 40, 96, 160, 224, 255)
PATCHES = np.array([(r, g, b) for r in STEPS for g in STEPS for b in STEPS], dtype=np.uint8)
WITHIN = 3.0
DISPLAY_P3 = profiles.PRIMARIES[12][:3]
ADOBE = (profiles.SRGB[0], profiles.ADOBE_GREEN, profiles.SRGB[2])
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
D50_POINT = (0.34567, 0.35850)


@pytest.fixture(scope="module", autouse=True)
def decoders() -> None:
    prepare()
    pillow_heif.register_heif_opener()


def taken(data: bytes) -> tuple[dict[str, object], Image.Image, Image.Image | None]:
    """What is kept of an upload."""
    header, kept = normalise(data, Order(read_header(data).kind, 1_000_000, "ppm"))
    assert "error" not in header, header
    return header, read_kept(kept), read_kept_alpha(kept)


def chart() -> Image.Image:
    """Every patch as a block that a JPEG's blocks fit into."""
    blocks = PATCHES.reshape(18, 12, 3).repeat(8, axis=0).repeat(8, axis=1)
    return Image.fromarray(blocks)


def measured(data: bytes) -> Levels:
    _, image, _ = taken(data)
    return np.asarray(image)[4::8, 4::8].reshape(-1, 3).astype(np.float64)


def of_srgb(curve_values: Levels) -> Levels:
    return np.where(
        curve_values <= 0.04045, curve_values / 12.92, ((curve_values + 0.055) / 1.055) ** 2.4
    )


def expected(primaries: object, white: tuple[float, float], curve: Curve) -> Levels:
    """The patches in sRGB by the plain formulas, in double precision."""
    light = curve(PATCHES / 255.0)
    to_d50: Levels = np.array(profiles._to_d50(primaries, white))
    from_d50 = np.linalg.inv(np.array(profiles._to_d50(profiles.SRGB, profiles.D65)))
    linear = np.clip(light @ (from_d50 @ to_d50).T, 0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return coded * 255


def power(gamma: float) -> Curve:
    return lambda values: values**gamma


def exif_r03() -> bytes:
    """EXIF with ColorSpace uncalibrated and the interoperability index R03, as DCF has it."""
    entry = "<HHI4s"
    first = struct.pack("<H", 1) + struct.pack(entry, 0x8769, 4, 1, struct.pack("<I", 26))
    inner = struct.pack("<H", 2) + struct.pack(entry, 0xA001, 3, 1, b"\xff\xff\0\0")
    inner += struct.pack(entry, 0xA005, 4, 1, struct.pack("<I", 56))
    index = struct.pack("<H", 1) + struct.pack(entry, 1, 2, 4, b"R03\0")
    return b"Exif\0\0II*\0\x08\0\0\0" + b"".join(d + bytes(4) for d in (first, inner, index))


def png(*chunks: tuple[bytes, bytes], **options: object) -> bytes:
    data = saved(chart(), "PNG", **options)
    for name, content in chunks:
        data = spiked(data, name, content)
    return data


def icc(primaries: object, white: tuple[float, float], curve: object) -> bytes:
    return profiles.rgb_profile(primaries, white, curve)  # type: ignore[arg-type]


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = expected(DISPLAY_P3, profiles.D65, of_srgb)
ADOBE_RGB = expected(ADOBE, profiles.D65, power(563 / 256))
GAMMA = struct.pack("!I", 55_556)
P3_POINTS = struct.pack("!8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize(
    ("data", "right"),
    [
        (lambda: png(icc_profile=icc(DISPLAY_P3, profiles.D65, profiles.srgb)), P3),
        (lambda: png((b"cICP", bytes([12, 13, 0, 1]))), P3),
        (lambda: png(icc_profile=profiles.adobe_rgb()), ADOBE_RGB),
        (lambda: png(exif=exif_r03()), ADOBE_RGB),
        (
            lambda: png(icc_profile=icc(PROPHOTO, D50_POINT, profiles.power(1.8))),
            expected(PROPHOTO, D50_POINT, power(1.8)),
        ),
        (lambda: png((b"gAMA", GAMMA)), expected(profiles.SRGB, profiles.D65, power(1.8))),
        (
            lambda: png((b"gAMA", GAMMA), (b"cHRM", P3_POINTS)),
            expected(DISPLAY_P3, profiles.D65, power(1.8)),
        ),
    ],
    ids=["P3", "cICP-P3", "Adobe", "R03", "ProPhoto", "gAMA", "gAMA-cHRM"],
)
def test_stated_colours_become_srgb_within_three_levels(
    data: Callable[[], bytes], right: Levels
) -> None:
    assert np.abs(measured(data()) - right).max() <= WITHIN


@pytest.mark.parametrize(
    "data",
    [
        lambda: png(),
        lambda: png((b"sRGB", b"\0")),
        lambda: png((b"sRGB", b"\0"), (b"gAMA", GAMMA)),
        lambda: png((b"cICP", bytes([1, 13, 0, 1]))),
        lambda: png(icc_profile=SRGB_PROFILE),
        lambda: saved(chart(), "TIFF"),
        lambda: saved(chart(), "BMP"),
    ],
)
def test_what_is_srgb_already_is_not_moved_at_all(data: Callable[[], bytes]) -> None:
    assert np.array_equal(measured(data()), PATCHES)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_grey_profile_is_followed_and_grey_stays_grey(kind: str, gamma: float) -> None:
    tags = {b"wtpt": profiles._xyz(profiles.D50), b"kTRC": profiles._table(profiles.power(gamma))}
    ramp = Image.frombytes("L", (256, 16), bytes(range(256)) * 16)
    options = {"quality": 100} if kind == "JPEG" else {}
    data = saved(ramp, kind, icc_profile=profiles._file(b"GRAY", tags), **options)

    pixels = np.asarray(taken(data)[1]).astype(np.float64)

    light = (np.arange(256) / 255.0) ** gamma
    right = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(pixels[8, :, 0] - right).max() <= WITHIN
    assert np.ptp(pixels, axis=2).max() == 0


@pytest.mark.parametrize("transfer", sorted(profiles.HDR))
def test_hdr_is_toned_down_and_not_cut_off(transfer: int) -> None:
    ramp = Image.frombytes("L", (256, 16), bytes(range(256)) * 16).convert("RGB")
    data = spiked(saved(ramp, "PNG"), b"cICP", bytes([9, transfer, 0, 1]))

    header, image, _ = taken(data)

    levels = np.asarray(image)[8, :, 1].astype(int)
    assert header["warnings"] == ["hdr_toned_down"]
    assert (np.diff(levels) >= 0).all()
    assert levels[230] < 255


def large(profile: bytes) -> bytes:
    """The same profile of two megabytes."""
    return struct.pack("!I", len(profile) + 2 * 2**20) + profile[4:] + bytes(range(256)) * 8192


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_profile_of_two_megabytes_is_read(kind: str) -> None:
    profile = large(icc(DISPLAY_P3, profiles.D65, profiles.srgb))

    header, _, _ = taken(saved(chart(), kind, icc_profile=profile))

    assert header["warnings"] == []


@pytest.mark.parametrize(
    "profile",
    [
        b"x" * 4000,
        profiles._file(b"GRAY", {b"kTRC": profiles._table(profiles.srgb)}),
        profiles.adobe_rgb()[:12] + b"link" + profiles.adobe_rgb()[16:],
        profiles.adobe_rgb()[:300],
    ],
    ids=["noise", "grey", "a-link", "cut-off"],
)
def test_a_profile_that_cannot_be_used_is_said_and_moves_nothing(profile: bytes) -> None:
    header, image, _ = taken(png(icc_profile=profile))

    assert header["warnings"] == ["profile_unreadable"]
    assert np.array_equal(np.asarray(image)[4::8, 4::8].reshape(-1, 3), PATCHES)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_transparency_is_kept_beside_the_colours(kind: str) -> None:
    picture = chart().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))

    header, image, alpha = taken(saved(picture, kind))

    assert header["has_alpha"] is True
    assert alpha is not None
    assert image.size == alpha.size
    gap = np.asarray(alpha).astype(int) - np.asarray(picture.getchannel("A")).astype(int)
    assert np.abs(gap).max() <= 8


def test_a_white_logo_on_nothing_is_judged_as_it_is_seen() -> None:
    logo = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    logo.paste((255, 255, 255, 255), (16, 16, 48, 48))

    header, image, _ = taken(saved(logo, "PNG"))

    quality = header["quality"]
    assert isinstance(quality, dict)
    assert quality["spread"] > 50
    assert image.getpixel((2, 2)) == (255, 255, 255)  # nothing dark to bleed into its edge


def test_a_picture_of_which_nothing_can_be_seen_is_blank() -> None:
    header, _, alpha = taken(saved(Image.new("RGBA", (64, 64), (200, 10, 10, 0)), "PNG"))

    quality = header["quality"]
    assert isinstance(quality, dict)
    assert quality["spread"] == 0
    assert alpha is not None


def test_of_two_hundred_pictures_in_a_heic_the_primary_one_is_taken() -> None:
    frames = [Image.new("RGB", (64, 64), (number, 0, 0)) for number in range(200)]
    data = saved(frames[0], "HEIF", save_all=True, append_images=frames[1:], primary_index=120)

    _, image, _ = taken(data)

    red = image.getpixel((32, 32))
    assert isinstance(red, tuple)
    assert abs(red[0] - 120) <= 6


def test_a_heic_is_turned_by_its_box_whatever_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bytearray(saved(Image.new("RGB", (96, 64), "teal"), "HEIF", exif=exif.tobytes()))
    data[data.find(b"\x01\x12\0\x03\0\0\0\x01") + 9] = 3  # EXIF's own word for it

    assert taken(bytes(data))[1].size == (64, 96)


def test_of_a_tiff_with_five_hundred_pages_the_first_is_taken() -> None:
    pages = [Image.new("L", (16, 16), number % 256) for number in range(500)]
    data = saved(chart(), "TIFF", save_all=True, append_images=pages[1:])

    assert read_header(data).pages == 500
    assert np.array_equal(measured(data), PATCHES)


def test_sequences_and_animations_are_refused_by_their_header() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for kind in ("AVIF", "GIF"):
        with pytest.raises(AnimatedImage):
            read_header(saved(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_numbers_that_no_screen_shows_are_refused_in_words() -> None:
    data = saved(Image.new("F", (32, 32), 0.5), "TIFF")

    with pytest.raises(UnsupportedMediaType, match="8 or 16 bits"):
        read_header(data)


@pytest.mark.parametrize("colours", ["cielab", "minisblack"])
def test_sixteen_bits_that_the_decoder_does_not_know_are_named_and_not_called_damaged(
    colours: str,
) -> None:
    image = Image.effect_noise((48, 40), 60).convert("LA" if colours == "minisblack" else "RGB")
    how = {"extrasamples": ["unassalpha"]} if colours == "minisblack" else {}

    with pytest.raises(UnsupportedMediaType, match="export it as RGB"):
        read_header(arranged(image, is_deep=True, photometric=colours, **how))
    assert read_header(arranged(image, photometric=colours, **how)).kind == "tiff"


@pytest.mark.parametrize("kept", [0.992, 1.0])
def test_a_jpeg_without_its_end_is_taken_with_its_last_rows_filled_in(kept: float) -> None:
    # The same noise in every run: one scan in forty is complete without its end, and needs no word.
    noise = np.random.default_rng(0).normal(128, 60, (1600, 320, 3)).clip(0, 255)
    photo = Image.fromarray(noise.astype(np.uint8))
    data = saved(photo, "JPEG", quality=95)
    scan = data.index(b"\xff\xda")

    header, image, _ = taken(data[: scan + int((len(data) - scan) * kept) - 2])

    assert header["warnings"] == ["end_filled"]
    assert image.size == photo.size


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_with_half_of_its_rows_is_refused(progressive: bool) -> None:
    data = saved(Image.effect_noise((320, 320), 60).convert("RGB"), "JPEG", progressive=progressive)

    with pytest.raises(OSError, match="truncated"):
        taken(data[: len(data) // 2])


def test_what_a_photo_says_of_itself_is_read_but_for_place_and_device() -> None:
    exif = Image.Exif()
    exif.update({0x013B: "Ada", 0x8298: "(c) Ada", 0xA431: "serial", 0x0132: "2026:01:02 03:04:05"})
    exif.get_ifd(0x8825)[1] = "N"

    header, _, _ = taken(saved(chart(), "JPEG", exif=exif, dpi=(300, 300)))

    assert header["about"] == {
        "taken_at": "2026:01:02 03:04:05",
        "author": "Ada",
        "copyright": "(c) Ada",
        "dpi": (300.0, 300.0),
    }


def test_a_heic_that_claims_too_much_is_told_by_its_header() -> None:
    data = bytearray(saved(Image.new("RGB", (64, 64), "teal"), "HEIF"))
    at = data.find(b"ispe") + 8
    data[at : at + 8] = struct.pack("!II", 65_535, 65_535)

    header = read_header(bytes(data))

    assert (header.width, header.height) == (65_535, 65_535)
