"""Whole HEIC, AVIF and TIFF pictures, split into boxes and directory entries and joined again.

Owns what mutations.py needs for these formats, in which everything is found by its offset.
"""

import io
import random
import struct

import tifffile
from PIL import Image

from tests.support.hostile_pictures import SECRET, saved

# Boxes that contain boxes, and the bytes before these.
CONTAINERS = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"iref": 12}
Size = tuple[int, int] | None
ENTRY_BYTES, BLOCK_BYTES = 12, 256


def heif_originals(kind: str, rgb: Image.Image, alpha: Image.Image) -> list[bytes]:
    """A HEIC or an AVIF with each of the parts that phones and programs write."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = SECRET
    told: dict[str, object] = {"exif": exif.tobytes(), "xmp": b"<x/>"}
    pictures = [
        saved(rgb, kind, **told),
        saved(alpha, kind),
        saved(rgb.convert("L"), kind),
        saved(rgb, kind, quality=-1 if kind == "HEIF" else 100, subsampling="4:4:4"),
        depth_image() if kind == "HEIF" else saved(rgb, kind, quality=10),
    ]
    if kind == "HEIF":
        pictures.append(saved(rgb, kind, save_all=True, append_images=[rgb, rgb], primary_index=1))
    return pictures


def depth_image() -> bytes:
    """A HEIC with a depth map beside it, as portrait modes write it: here the alpha, renamed."""
    noise = Image.effect_noise((64, 64), 60)
    data = saved(Image.merge("RGBA", [noise, noise, noise, noise.rotate(90)]), "HEIF")
    renamed = data.replace(b"hevc:2015:auxid:1", b"hevc:2015:auxid:2")
    assert renamed != data
    return renamed


def grid_of_tiles(rows: int, columns: int, size: tuple[int, int], claimed: Size = None) -> bytes:
    """A HEIC as phones write them: the primary picture is made of tiles of 64 x 64 pixels, here
    always the same one. `claimed` is the size in its box, which may be false.
    """
    tile = saved(Image.linear_gradient("L").resize((64, 64)).convert("RGB"), "HEIF")
    coded = next(piece for piece in box_pieces(tile) if piece[4:8] == b"mdat")[8:]
    decoder = next(piece for piece in box_pieces(tile) if piece[4:8] == b"hvcC")
    tiles, whole = range(1, rows * columns + 1), rows * columns + 1
    layout = struct.pack("!BBBBII", 0, 1, rows - 1, columns - 1, *size)
    ispes = [struct.pack("!III", 0, *each) for each in ((64, 64), claimed or size)]
    properties = _box(b"ipco", decoder, *(_box(b"ispe", each) for each in ispes))
    links = b"".join(struct.pack("!HBBB", each, 2, 0x81, 2) for each in tiles)
    links += struct.pack("!HBB", whole, 1, 3)
    kinds = [_item(each, b"hvc1") for each in tiles] + [_item(whole, b"grid")]
    parts = struct.pack(f"!HH{whole - 1}H", whole, whole - 1, *tiles)
    before = [
        _box(b"hdlr", struct.pack("!II4s12sB", 0, 0, b"pict", b"", 0)),
        _box(b"pitm", struct.pack("!IH", 0, whole)),
        _box(b"iinf", struct.pack("!IH", 0, whole), *kinds),
        _box(b"iprp", properties, _box(b"ipma", struct.pack("!II", 0, whole), links)),
        _box(b"iref", struct.pack("!I", 0), _box(b"dimg", parts)),
        _box(b"idat", layout),
    ]
    start = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    places = 16 + whole * 16
    offset = len(start) + 12 + sum(map(len, before)) + places + 8
    extents = [(each, 0, offset, len(coded)) for each in tiles] + [(whole, 1, 0, len(layout))]
    located = b"".join(
        struct.pack("!HHHHII", n, way, 0, 1, at, size) for n, way, at, size in extents
    )
    where = _box(b"iloc", struct.pack("!IHH", 1 << 24, 0x4400, whole), located)
    return start + _box(b"meta", bytes(4), *before, where) + _box(b"mdat", coded)


def _item(number: int, kind: bytes) -> bytes:
    return _box(b"infe", struct.pack("!IHH4sB", 2 << 24, number, 0, kind, 0))


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack("!I4s", len(body) + 8, name) + body


def tiff_originals(rgb: Image.Image, alpha: Image.Image) -> list[bytes]:
    """A TIFF of every supported compression, depth and arrangement."""
    grey = rgb.convert("L")
    ways = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    return [
        *(saved(rgb, "TIFF", compression=way) for way in ways),
        saved(rgb, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
        saved(alpha, "TIFF"),
        saved(grey, "TIFF"),
        saved(grey.convert("1"), "TIFF", compression="group4"),
        saved(rgb.convert("P"), "TIFF"),
        saved(rgb.convert("CMYK"), "TIFF"),
        saved(Image.new("I;16", (48, 40), 40_000), "TIFF"),
        saved(rgb, "TIFF", save_all=True, append_images=[grey]),
        saved(rgb, "TIFF", big_tiff=True),
        arranged(rgb, tile=(16, 16)),
        arranged(rgb, planarconfig="separate"),
        arranged(rgb, is_deep=True, planarconfig="separate"),
        arranged(alpha, planarconfig="separate", extrasamples=["assocalpha"]),
    ]


def arranged(picture: Image.Image, is_deep: bool = False, **how: object) -> bytes:
    """A TIFF in tiles, in planes or of 16 bits, which Pillow reads but does not write."""
    out, pixels = io.BytesIO(), _array(picture, "planarconfig" in how, is_deep)
    tifffile.imwrite(out, pixels, **{"photometric": "rgb"} | how)
    return out.getvalue()


def _array(picture: Image.Image, is_planar: bool, is_deep: bool) -> object:
    import numpy as np

    pixels = np.asarray(picture)
    pixels = pixels.astype(np.uint16) * 257 if is_deep else pixels
    return pixels.transpose(2, 0, 1) if is_planar else pixels


def box_pieces(data: bytes) -> list[bytes]:
    """The boxes of a file, each container as its head and its contents."""
    pieces: list[bytes] = []
    offset = 0
    while offset + 8 <= len(data):
        size, name = struct.unpack_from("!I4s", data, offset)
        head = CONTAINERS.get(name)
        size = size or len(data) - offset
        if head is None:
            pieces.append(data[offset : offset + size])
        else:
            pieces.append(data[offset : offset + head])
            pieces += box_pieces(data[offset + head : offset + size])
        offset += size
    return pieces


def hidden_box(piece: bytes, draw: random.Random) -> bytes:
    """A box that readers skip: its contents are lost, and every offset stays correct."""
    del draw
    return piece[:4] + b"free" + piece[8:] if len(piece) >= 8 else piece


def tiff_pieces(data: bytes) -> list[bytes]:
    """Head, first directory entry by entry, and the rest in blocks."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return _blocks(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    end = start + 2 + count * ENTRY_BYTES
    entries = [data[at : at + ENTRY_BYTES] for at in range(start + 2, end, ENTRY_BYTES)]
    before = [data[:8], *_blocks(data[8:start]), data[start : start + 2]]
    return [*before, *entries, data[end : end + 4], *_blocks(data[end + 4 :])]


def hidden_entry(piece: bytes, draw: random.Random) -> bytes:
    """An entry that becomes another one's: unknown, or one of those with sizes and offsets."""
    tag = draw.choice((0, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 324, 330, 65_000))
    return struct.pack("<H", tag) + piece[2:] if len(piece) == ENTRY_BYTES else piece


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
