"""The format and size of an upload, read from its first bytes by our own code.

Owns the magic numbers and the small formats' headers; boxes.py and tiff.py read the complex ones.
Nothing is decoded here and no library sees the bytes: a file refused here never reaches a decoder.
Sources: PNG (ISO/IEC 15948) and its animation chunk acTL, JPEG (ITU-T T.81, B.2.2), WebP (RFC
9649), GIF89a, BMP (BITMAPCOREHEADER and its successors).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from api.intake.boxes import AV1, HEVC, SEQUENCES, brands, read_still
from api.intake.foreign import RAW, recognise
from api.intake.jpeg_markers import DEEP_SAMPLES, FRAMES, HIERARCHICAL
from api.intake.tiff import UNSIGNED, read_page
from api.wire.sentence import Sentence
from shared.errors import AnimatedImage, ImageTruncated, InvalidImage, UnsupportedMediaType

Kind = Literal["png", "jpeg", "webp", "heic", "avif", "tiff", "bmp", "gif"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Markers without a length: TEM, RST0-7, SOI.
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
MAX_SEGMENTS = 4096
MAX_BLOCKS = 500_000
WEBP_ANIMATION_FLAG = 0x02
COMMON_SAMPLE, DEEPEST_SAMPLE = 8, 16
GIF_EXTENSION, GIF_PICTURE, GIF_END = 0x21, 0x2C, 0x3B
MEDICAL = Sentence(
    "the JPEG has more than 8 bits per colour or several frames, as medical devices write it; "
    "export it as an ordinary JPEG or PNG",
    "该 JPEG 每种颜色超过 8 位或含多帧，多见于医疗设备；请导出为普通 JPEG 或 PNG",
)


@dataclass(frozen=True)
class Header:
    """Format and size in pixels, as the file states them; of several `pages` the first is used."""

    kind: Kind
    width: int
    height: int
    pages: int = 1


def read_header(data: bytes) -> Header:
    """The header. Raises InvalidImage, UnsupportedMediaType, AnimatedImage, ImageTruncated."""
    if not data:
        raise InvalidImage(Sentence("the file is empty", "文件是空的"))
    read = _reader(data)
    if read is None:
        raise UnsupportedMediaType(recognise(data).sentence())
    try:
        return read(data)
    except (struct.error, IndexError) as error:
        raise ImageTruncated() from error
    except (ValueError, KeyError) as error:
        raise InvalidImage(str(error)) from error


def _reader(data: bytes) -> Callable[[bytes], Header] | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if data[4:8] == b"ftyp":
        named = brands(data)[1]
        return _heif if named & (HEVC | AV1 | SEQUENCES) else None
    return next((read for magic, read in _BY_MAGIC if data.startswith(magic)), None)


def _png(data: bytes) -> Header:
    length, name, width, height = struct.unpack_from("!I4sII", data, 8)
    if name != b"IHDR" or length != 13:
        raise InvalidImage()
    offset = 33
    for _ in range(MAX_SEGMENTS):
        length, name = struct.unpack_from("!I4s", data, offset)
        if name == b"acTL" and struct.unpack_from("!I", data, offset + 8)[0] > 1:
            raise AnimatedImage()
        if name == b"IDAT":
            return Header("png", width, height)
        offset += 12 + length
    raise InvalidImage()


def _jpeg(data: bytes) -> Header:
    offset = 2
    for _ in range(MAX_SEGMENTS):
        while data[offset] == 0xFF and data[offset + 1] == 0xFF:
            offset += 1  # fill bytes
        if data[offset] != 0xFF:
            raise InvalidImage()
        marker = data[offset + 1]
        if marker in FRAMES:
            if data[offset + 4] in DEEP_SAMPLES or marker in HIERARCHICAL:
                raise UnsupportedMediaType(MEDICAL)
            height, width = struct.unpack_from("!HH", data, offset + 5)
            return Header("jpeg", width, height)
        offset += 2
        if marker not in BARE_MARKERS:
            offset += struct.unpack_from("!H", data, offset)[0]
    raise InvalidImage()


def _webp(data: bytes) -> Header:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ImageTruncated()
    chunk = data[12:16]
    if chunk == b"VP8X":
        if data[20] & WEBP_ANIMATION_FLAG:
            raise AnimatedImage()
        return Header("webp", _three_bytes(data, 24) + 1, _three_bytes(data, 27) + 1)
    if chunk == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    raise InvalidImage()


def _three_bytes(data: bytes, offset: int) -> int:
    low, high = struct.unpack_from("<HB", data, offset)
    return int(low) | int(high) << 16


def _heif(data: bytes) -> Header:
    major, named = brands(data)
    if major in SEQUENCES:
        raise AnimatedImage()
    still = read_still(data)
    # A generic brand says only that the file is HEIF; the other brands say how it is coded.
    is_av1 = major in AV1 or (major not in HEVC - {b"mif1", b"mif2", b"mif3"} and named & AV1)
    return Header("avif" if is_av1 else "heic", still.width, still.height)


def _tiff(data: bytes) -> Header:
    if data[8:10] == b"CR":
        raise UnsupportedMediaType(RAW.sentence())
    page = read_page(data)
    if page.is_raw:
        raise UnsupportedMediaType(RAW.sentence())
    if page.sample_format != UNSIGNED or page.bits > DEEPEST_SAMPLE:
        raise UnsupportedMediaType(
            Sentence(
                "the TIFF holds floating-point or 32-bit numbers; export it with 8 or 16 bits",
                "该 TIFF 为浮点或 32 位数据；请以 8 位或 16 位导出",
            )
        )
    if page.bits > COMMON_SAMPLE and (page.is_lab or page.is_grey_beside_more):
        raise UnsupportedMediaType(
            Sentence(
                "the TIFF holds 16-bit LAB or 16-bit grey with transparency; export it as RGB",
                "该 TIFF 为 16 位 LAB 或带透明度的 16 位灰度；请以 RGB 导出",
            )
        )
    return Header("tiff", page.width, page.height, page.pages)


def _bmp(data: bytes) -> Header:
    size = struct.unpack_from("<I", data, 14)[0]
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif size >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        raise ValueError("an unknown header")
    return Header("bmp", max(width, 0), abs(height))  # negative: rows are stored from the top


def _gif(data: bytes) -> Header:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    if _gif_frames(data, 13 + _palette_bytes(flags)) > 1:
        raise AnimatedImage()
    return Header("gif", width, height)


def _gif_frames(data: bytes, offset: int) -> int:
    """Counts frames up to the second, which is enough to tell; damaged data ends the count."""
    frames = 0
    for _ in range(MAX_SEGMENTS):
        mark = data[offset] if offset < len(data) else GIF_END
        if mark == GIF_PICTURE:
            frames += 1
            if frames > 1:
                break
            offset = _past_blocks(data, offset + 11 + _palette_bytes(data[offset + 9]))
        elif mark == GIF_EXTENSION:
            offset = _past_blocks(data, offset + 2)
        else:
            break
    if not frames and offset >= len(data):
        raise ImageTruncated
    if not frames:
        raise ValueError("contains no picture")
    return frames


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _past_blocks(data: bytes, offset: int) -> int:
    for _ in range(MAX_BLOCKS):
        length = data[offset] if offset < len(data) else 0
        offset += 1 + length
        if not length:
            break
    return offset


_BY_MAGIC: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (PNG_MAGIC, _png),
    (b"\xff\xd8\xff", _jpeg),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"II+\0", _tiff),
    (b"MM\0+", _tiff),
    (b"BM", _bmp),
    (b"GIF87a", _gif),
    (b"GIF89a", _gif),
)
