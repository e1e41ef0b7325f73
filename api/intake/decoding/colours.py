"""Converts the colours that a file states to sRGB, as a screen without colour management shows
them.

Owns the order of precedence: a PNG's cICP, then ICC, then nclx, sRGB, gAMA and cHRM, then EXIF
(PNG, third edition, 4.3; MIAF; DCF 2.0 for R03). An unreadable statement leads to a warning, and
the values are taken as sRGB.
"""

import io
import struct
from dataclasses import dataclass, field

from PIL import Image, ImageCms, ImageFile

from api.intake.boxes import Nclx, read_still
from api.intake.decoding.profiles import (
    D65,
    HDR,
    SRGB,
    UnknownColours,
    adobe_rgb,
    coded_profile,
    power,
    rgb_profile,
)

UNREADABLE, TONED_DOWN = "profile_unreadable", "hdr_toned_down"
EXIF_IFD, INTEROPERABILITY, COLOUR_SPACE, INDEX = 0x8769, 0xA005, 0xA001, 1
ADOBE_RGB = 2
# Profiles of pictures, not device links or named colours.
CLASSES = frozenset({"mntr", "scnr", "prtr", "spac"})
SPACES = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "CMYK": ("CMYK",)}
# A profile that moves no colour further than this counts as sRGB.
SAME_LEVELS = 2
GRID = 9
MOST_CHUNKS = 4096
# A finer grid for LCMS' precomputed table; no table for the few values of a grey ramp, where a grid
# of 49 would distort the shadows.
PRECISE, EXACT = ImageCms.Flags.HIGHRESPRECALC, ImageCms.Flags.NOOPTIMIZE


Profile = ImageCms.ImageCmsProfile


@dataclass
class Stated:
    """The colours that a file states, as an ICC profile; None means nothing, or sRGB."""

    profile: bytes | None = None
    warnings: list[str] = field(default_factory=list)


def stated_colours(image: ImageFile.ImageFile, data: bytes, kind: str) -> Stated:
    """The statement of the file that takes precedence."""
    try:
        return _stated(image, data, kind)
    except (UnknownColours, ValueError, struct.error, IndexError, OverflowError):
        return Stated(None, [UNREADABLE])


def _stated(image: ImageFile.ImageFile, data: bytes, kind: str) -> Stated:
    chunks = _png_chunks(data) if kind == "png" else {}
    if b"cICP" in chunks:
        return _coded(Nclx(*struct.unpack_from("!BB", chunks[b"cICP"])))
    if image.info.get("icc_profile"):
        return Stated(image.info["icc_profile"])
    if b"iCCP" in chunks or "icc_profile" in image.info or _lost_profile(image):
        return Stated(None, [UNREADABLE])
    if kind in ("heic", "avif"):
        colours = read_still(data).colours
        return _coded(colours) if colours else Stated()
    if b"sRGB" in chunks:
        return Stated()
    if b"gAMA" in chunks or b"cHRM" in chunks:
        return Stated(_png_profile(chunks))
    return Stated(adobe_rgb() if _is_adobe_rgb(image) else None)


def _coded(colours: Nclx) -> Stated:
    warnings = [TONED_DOWN] if colours.transfer in HDR else []
    return Stated(coded_profile(colours.primaries, colours.transfer), warnings)


def _lost_profile(image: ImageFile.ImageFile) -> bool:
    """Whether a JPEG's profile consists of pieces that do not belong together."""
    return bool(getattr(image, "icclist", []))


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks before the image data."""
    chunks: dict[bytes, bytes] = {}
    offset = 8
    for _ in range(MOST_CHUNKS):
        size, name = struct.unpack_from("!I4s", data, offset)
        if name == b"IDAT":
            break
        if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            chunks.setdefault(name, data[offset + 8 : offset + 8 + min(size, 32)])
        offset += 12 + size
    return chunks


def _png_profile(chunks: dict[bytes, bytes]) -> bytes:
    gamma = struct.unpack("!I", chunks.get(b"gAMA", b"\0\0\xb1\x8f"))[0] / 100_000
    if not 0.05 < gamma < 20:
        raise UnknownColours(f"gamma {gamma}")
    if b"cHRM" not in chunks:
        return rgb_profile(SRGB, D65, power(1 / gamma))
    numbers = [value / 100_000 for value in struct.unpack("!8I", chunks[b"cHRM"])]
    white, red, green, blue = ((numbers[at], numbers[at + 1]) for at in range(0, len(numbers), 2))
    return rgb_profile((red, green, blue), white, power(1 / gamma))


def _is_adobe_rgb(image: Image.Image) -> bool:
    exif = image.getexif()
    inner = exif.get_ifd(EXIF_IFD)
    index = str(exif.get_ifd(INTEROPERABILITY).get(INDEX, "")).strip("\0 ")
    return inner.get(COLOUR_SPACE) == ADOBE_RGB or index == "R03"


def to_srgb(image: Image.Image, stated: Stated) -> tuple[Image.Image, list[str]]:
    """Converts an L, RGB, CMYK or LAB picture to L or RGB, and returns it with any warnings."""
    if image.mode == "LAB":
        return _converted(image, Profile(ImageCms.createProfile("LAB")), "RGB"), stated.warnings
    if stated.profile is None:
        return _plain(image), stated.warnings
    try:
        return _by_profile(image, stated.profile), stated.warnings
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _plain(image), [*stated.warnings, UNREADABLE]


def _plain(image: Image.Image) -> Image.Image:
    return image.convert("RGB") if image.mode == "CMYK" else image


def _by_profile(image: Image.Image, data: bytes) -> Image.Image:
    profile = Profile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if profile.profile.device_class.strip() not in CLASSES or space not in SPACES[image.mode]:
        raise ValueError("a profile of another class")
    if space == "CMYK":
        return _converted(image, profile, "RGB")
    if space == "GRAY":
        return image.point(_grey_levels(profile))
    if _is_srgb(profile):
        return image
    changed = _converted(image.convert("RGB"), profile, "RGB")
    return changed.convert("L") if image.mode == "L" else changed


def _grey_levels(profile: Profile) -> list[int]:
    """The sRGB value of each of 256 grey levels; unchanged if the profile counts as sRGB."""
    same = list(range(256))
    ramp = Image.frombytes("L", (256, 1), bytes(same))
    levels = list(_converted(ramp, profile, "RGB", EXACT).getchannel("G").tobytes())
    return same if _most_moved(bytes(same), bytes(levels)) <= SAME_LEVELS else levels


def _is_srgb(profile: Profile) -> bool:
    """Whether the profile leaves a set of colours unchanged."""
    probe = _cube()
    before = probe.tobytes()
    return _most_moved(before, _converted(probe, profile, "RGB").tobytes()) <= SAME_LEVELS


def _most_moved(before: bytes, after: bytes) -> int:
    return max(abs(one - other) for one, other in zip(before, after, strict=True))


def _cube() -> Image.Image:
    steps = [round(255 * at / (GRID - 1)) for at in range(GRID)]
    cells = bytes(level for r in steps for g in steps for b in steps for level in (r, g, b))
    return Image.frombytes("RGB", (GRID * GRID, GRID), cells)


def _converted(
    image: Image.Image, profile: Profile, mode: str, flags: ImageCms.Flags = PRECISE
) -> Image.Image:
    """Converted in place if the mode allows it, so that a large picture is in memory only once."""
    srgb = Profile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.buildTransform(profile, srgb, image.mode, mode, flags=flags)
    if image.mode == mode:
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image
    changed = ImageCms.applyTransform(image, transform)
    assert changed is not None
    return changed
