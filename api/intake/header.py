"""What kind of picture an upload is and how large, told from its first bytes by our own reading.

Owns the magic numbers and the three formats' headers. Nothing is decoded here and no library sees
the bytes: what is refused here never reaches a decoder. Sources: PNG (ISO/IEC 15948) and its
animation chunk acTL, JPEG (ITU-T T.81, B.2.2), WebP (RFC 9649).
"""

import struct
from dataclasses import dataclass
from typing import Literal

from api.wire.sentence import Sentence
from shared.errors import AnimatedImage, ImageTruncated, InvalidImage, UnsupportedMediaType

Kind = Literal["png", "jpeg", "webp"]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers; C4, C8 and CC in their range are something else.
SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length: TEM, RST0-7, SOI.
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
MAX_SEGMENTS = 4096
WEBP_ANIMATION_FLAG = 0x02


@dataclass(frozen=True)
class Header:
    """Kind and size in pixels, as the file claims them."""

    kind: Kind
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Raises InvalidImage, UnsupportedMediaType, AnimatedImage, ImageTruncated."""
    if not data:
        raise InvalidImage(Sentence("the file is empty", "文件是空的"))
    try:
        if data.startswith(PNG_MAGIC):
            return _png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise ImageTruncated() from error
    raise UnsupportedMediaType(
        Sentence(
            "the file is not a PNG, JPEG or WebP picture, whatever its name says",
            "无论文件名如何，这不是 PNG、JPEG 或 WebP 图片",
        )
    )


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
        if marker in SOF_MARKERS:
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
