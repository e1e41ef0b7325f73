"""Results of exactly the size that the caller's API demands.

Owns which size to request from a job so that its result is equal or slightly larger, and the final
resizing. Resized pictures are encoded again; they keep their profile and the note that a model made
them.
"""

import io
import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from api.jobs.entrance import Fields
from shared.params import ImageFormat

Size = tuple[int, int]
# `within` keeps the whole picture and its shape; `crop` and `fill` keep its shape; `stretch` does
# not.
Fit = Literal["within", "crop", "fill", "stretch"]

LARGEST_SIDE = 16_384
LARGEST_FACTOR = 4
SMALLEST_WORK_SIDE = 64
XMP = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Wanted:
    """A size in pixels, and how a picture of another shape is fitted into it."""

    size: Size
    fit: Fit

    def scale(self, source: Size) -> float:
        """The factor by which a source of this size has to be enlarged."""
        ratios = [want / have for want, have in zip(self.size, source, strict=True)]
        return min(ratios) if self.fit in ("within", "fill") else max(ratios)


def size_fields(wanted: Wanted, source: Size, most: int) -> Fields:
    """The job's fields that make its result the wanted size, or slightly larger."""
    scale = wanted.scale(source)
    if scale > 1:
        return (("upscale", str(min(LARGEST_FACTOR, math.ceil(scale)))),)
    side = max(SMALLEST_WORK_SIDE, math.ceil(max(source) * scale))
    return (("upscale", "1"), ("max_side", str(min(side, most))))


def fitted(data: bytes, wanted: Wanted, kind: ImageFormat, quality: int) -> bytes:
    """The picture at exactly the wanted size; the same bytes if it already has that size."""
    with Image.open(io.BytesIO(data)) as image:
        if image.size == _target(image.size, wanted):
            return data
        image.load()
        return _encoded(_placed(image, wanted), image, kind, quality)


def as_format(data: bytes, kind: ImageFormat, quality: int = 90) -> bytes:
    """A small picture in another format."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return _encoded(image, image, kind, quality)


def size_of(data: bytes) -> Size:
    """A picture's width and height, from its header."""
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def _target(size: Size, wanted: Wanted) -> Size:
    if wanted.fit != "within":
        return wanted.size
    scale = wanted.scale(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _placed(image: Image.Image, wanted: Wanted) -> Image.Image:
    filter_ = Image.Resampling.LANCZOS
    if wanted.fit == "crop":
        return ImageOps.fit(image, wanted.size, filter_)
    if wanted.fit == "fill":
        return _with_edges(ImageOps.contain(image, wanted.size, filter_), wanted.size)
    return image.resize(_target(image.size, wanted), filter_)


def _with_edges(image: Image.Image, size: Size) -> Image.Image:
    """The picture in the middle, padded by repeating its outermost rows or columns."""
    left, top = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    out = Image.new(image.mode, size)
    right, bottom = left + image.width, top + image.height
    width, height = image.size
    for box, place in (
        ((0, 0, 1, height), (0, top, left, bottom)),
        ((width - 1, 0, width, height), (right, top, size[0], bottom)),
        ((0, 0, width, 1), (left, 0, right, top)),
        ((0, height - 1, width, height), (left, bottom, right, size[1])),
    ):
        room = place[2] - place[0], place[3] - place[1]
        if min(room) > 0:
            out.paste(image.crop(box).resize(room), place[:2])
    out.paste(image, (left, top))
    return out


def _encoded(image: Image.Image, original: Image.Image, kind: ImageFormat, quality: int) -> bytes:
    buffer, xmp = io.BytesIO(), original.info.get("xmp") or original.info.get(XMP)
    profile = original.info.get("icc_profile")
    if kind == "png":
        info = PngInfo()
        if xmp:
            info.add_itxt(XMP, xmp.decode() if isinstance(xmp, bytes) else xmp)
        image.save(buffer, "PNG", compress_level=1, pnginfo=info, icc_profile=profile)
        return buffer.getvalue()
    known = {"xmp": xmp.encode() if isinstance(xmp, str) else xmp} if xmp else {}
    flat = image if kind == "webp" or image.mode in ("RGB", "L") else image.convert("RGB")
    flat.save(buffer, kind.upper(), quality=quality, icc_profile=profile, **known)
    return buffer.getvalue()
