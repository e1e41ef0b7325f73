"""Whole pictures and many ways to corrupt them: chunk by chunk, marker by marker, byte by byte.

Generated from a seed, so that a failing picture can be made again by its number.
"""

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from tests.support.containers import (
    box_pieces,
    heif_originals,
    hidden_box,
    hidden_entry,
    tiff_originals,
    tiff_pieces,
)
from tests.support.hostile_pictures import PNG_MAGIC, saved, talkative

Pieces = list[bytes]
Way = Callable[[Pieces, random.Random], Pieces]


def originals() -> dict[str, list[bytes]]:
    """Pictures with every part that their format commonly has."""
    noise = Image.effect_noise((48, 40), 90)
    rgb, grey = Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]), noise
    alpha = Image.merge("RGBA", [*rgb.split(), noise])
    return {
        "png": [
            talkative("PNG"),
            saved(rgb, "PNG"),
            saved(alpha, "PNG"),
            saved(rgb.convert("P"), "PNG", transparency=3),
            saved(Image.new("I;16", (48, 40), 40_000), "PNG"),
            saved(grey.convert("1"), "PNG"),
        ],
        "jpeg": [
            talkative("JPEG"),
            saved(rgb, "JPEG"),
            saved(rgb, "JPEG", progressive=True),
            saved(grey, "JPEG"),
            saved(rgb.convert("CMYK"), "JPEG"),
            saved(rgb, "JPEG", subsampling=2, restart_marker_blocks=1),
        ],
        "webp": [
            talkative("WEBP"),
            saved(rgb, "WEBP"),
            saved(rgb, "WEBP", lossless=True),
            saved(alpha, "WEBP"),
            saved(alpha, "WEBP", lossless=True),
        ],
        "heic": heif_originals("HEIF", rgb, alpha),
        "avif": heif_originals("AVIF", rgb, alpha),
        "tiff": tiff_originals(rgb, alpha),
    }


def mutated(
    count: int, seed: int = 0, kinds: Sequence[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """This many corrupted pictures, of each kind in turn; of all kinds if none are named."""
    whole = originals()
    kinds = sorted(kinds or whole)
    for number in range(count):
        draw = random.Random(f"{seed}-{number}")
        kind = kinds[number % len(kinds)]
        pieces = SPLIT[kind](draw.choice(whole[kind]))
        for _ in range(draw.choice((1, 1, 2, 4))):
            pieces = draw.choice(WAYS_OF.get(kind, WAYS))(pieces, draw) or pieces
        yield kind, JOIN[kind](pieces, draw)


def _png_pieces(data: bytes) -> Pieces:
    pieces, offset = [data[:8]], 8
    while offset < len(data):
        size = struct.unpack_from("!I", data, offset)[0] + 12
        pieces.append(data[offset : offset + size])
        offset += size
    return pieces


def _png(pieces: Pieces, draw: random.Random) -> bytes:
    """Mostly with correct checksums, so that the contents are examined."""
    if draw.random() < 0.25:
        return b"".join(pieces)
    return b"".join(PNG_MAGIC if piece == PNG_MAGIC else _checked(piece) for piece in pieces)


def _checked(piece: bytes) -> bytes:
    return piece[:-4] + struct.pack("!I", zlib.crc32(piece[4:-4])) if len(piece) >= 12 else piece


def _jpeg_pieces(data: bytes) -> Pieces:
    pieces, offset = [data[:2]], 2
    while offset + 4 <= len(data) and data[offset + 1] != 0xDA:
        size = struct.unpack_from("!H", data, offset + 2)[0] + 2
        pieces.append(data[offset : offset + size])
        offset += size
    head = struct.unpack_from("!H", data, offset + 2)[0] + 2
    return [*pieces, data[offset : offset + head], data[offset + head :]]


def _webp_pieces(data: bytes) -> Pieces:
    pieces, offset = [data[:12]], 12
    while offset + 8 <= len(data):
        size = struct.unpack_from("<I", data, offset + 4)[0]
        size += 8 + size % 2
        pieces.append(data[offset : offset + size])
        offset += size
    return pieces


def _webp(pieces: Pieces, draw: random.Random) -> bytes:
    body = b"".join(pieces)
    if draw.random() < 0.25:
        return body
    return body[:4] + struct.pack("<I", max(0, len(body) - 8)) + body[8:]


def _plain(pieces: Pieces, draw: random.Random) -> bytes:
    del draw
    return b"".join(pieces)


def _flip(pieces: Pieces, draw: random.Random) -> Pieces:
    place = draw.randrange(len(pieces))
    piece = bytearray(pieces[place])
    for _ in range(draw.choice((1, 1, 3, 16))):
        if piece:
            piece[draw.randrange(len(piece))] = draw.choice(
                (0, 1, 0x7F, 0x80, 0xFF, draw.getrandbits(8))
            )
    return [*pieces[:place], bytes(piece), *pieces[place + 1 :]]


def _lie(pieces: Pieces, draw: random.Random) -> Pieces:
    """Makes a number at the start of a piece extreme; lengths and sizes are stored there."""
    place = draw.randrange(len(pieces))
    piece = bytearray(pieces[place])
    at = draw.randrange(min(len(piece), 24)) if piece else 0
    extreme = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
    piece[at : at + 4] = extreme[: len(piece) - at]
    return [*pieces[:place], bytes(piece), *pieces[place + 1 :]]


def _drop(pieces: Pieces, draw: random.Random) -> Pieces:
    place = draw.randrange(len(pieces))
    return pieces[:place] + pieces[place + 1 :] or pieces


def _repeat(pieces: Pieces, draw: random.Random) -> Pieces:
    place = draw.randrange(len(pieces))
    return pieces[:place] + [pieces[place]] * draw.choice((2, 3, 50)) + pieces[place + 1 :]


def _swap(pieces: Pieces, draw: random.Random) -> Pieces:
    moved = list(pieces)
    one, other = draw.randrange(len(moved)), draw.randrange(len(moved))
    moved[one], moved[other] = moved[other], moved[one]
    return moved


def _cut(pieces: Pieces, draw: random.Random) -> Pieces:
    place = draw.randrange(len(pieces))
    kept = draw.randrange(len(pieces[place]) + 1)
    rest = pieces[place + 1 :] if draw.random() < 0.5 else []
    return [*pieces[:place], pieces[place][:kept], *rest]


def _grow(pieces: Pieces, draw: random.Random) -> Pieces:
    place = draw.randrange(len(pieces) + 1)
    return [*pieces[:place], draw.randbytes(draw.choice((1, 12, 300))), *pieces[place:]]


def _hide(change: Callable[[bytes, random.Random], bytes]) -> Way:
    """A piece is changed in place, so that everything is still found by its offset."""

    def hide(pieces: Pieces, draw: random.Random) -> Pieces:
        place = draw.randrange(len(pieces))
        return [*pieces[:place], change(pieces[place], draw), *pieces[place + 1 :]]

    return hide


WAYS: tuple[Way, ...] = (
    _flip, _flip, _flip, _lie, _lie, _drop, _repeat, _swap, _cut, _grow,
)  # fmt: skip
# Mostly changes that move nothing: others are soon refused because something ends beyond the file.
_IN_PLACE = (*[_flip] * 6, *[_lie] * 4)
WAYS_OF: dict[str, tuple[Way, ...]] = {
    "heic": (*WAYS, *_IN_PLACE, *[_hide(hidden_box)] * 3),
    "avif": (*WAYS, *_IN_PLACE, *[_hide(hidden_box)] * 3),
    "tiff": (*WAYS, *_IN_PLACE, *[_hide(hidden_entry)] * 3),
}
SPLIT: dict[str, Callable[[bytes], Pieces]] = {
    "png": _png_pieces,
    "jpeg": _jpeg_pieces,
    "webp": _webp_pieces,
    "heic": box_pieces,
    "avif": box_pieces,
    "tiff": tiff_pieces,
}
JOIN: dict[str, Callable[[Pieces, random.Random], bytes]] = {
    "png": _png,
    "jpeg": _plain,
    "webp": _webp,
    "heic": _plain,
    "avif": _plain,
    "tiff": _plain,
}
