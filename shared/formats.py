"""The file format of a result: the one that the caller asked for, or one that suits the photo.

Owns the rule of `format=auto`, and the largest sides of each format. Both processes use it: the
gateway settles a job's format, the worker changes it if an enlarged picture no longer fits.
"""

from typing import get_args

from shared.params import AskedFormat, ImageFormat

OUTPUT_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
INPUT_FORMATS = ("png", "jpeg", "webp", "heic", "avif", "tiff", "bmp", "gif")
# Cameras' formats become JPEG, which every program opens; the rest WebP, which is smaller.
PHOTOGRAPHED = frozenset({"jpeg", "heic"})
LONGEST_SIDE: dict[ImageFormat, int] = {"png": 2**31 - 1, "jpeg": 65_500, "webp": 16_383}


def settled_format(
    asked: AskedFormat, source_format: str, has_alpha: bool, longest_side: int
) -> ImageFormat:
    """The format of a job's result."""
    if asked != "auto":
        return asked
    if has_alpha or source_format == "png":
        return "png"
    return fitting_format("jpeg" if source_format in PHOTOGRAPHED else "webp", longest_side)


def fitting_format(wanted: ImageFormat, longest_side: int, has_alpha: bool = False) -> ImageFormat:
    """The wanted format, or the next one that supports sides of this many pixels."""
    if longest_side <= LONGEST_SIDE[wanted]:
        return wanted
    fits_jpeg = longest_side <= LONGEST_SIDE["jpeg"] and not has_alpha
    return "jpeg" if fits_jpeg else "png"
