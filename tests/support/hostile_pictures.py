"""Pictures that are not what they seem, each small enough to be understood here."""

import io
import struct
import zlib

import pillow_heif
from PIL import Image, ImageCms, PngImagePlugin

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
SECRET = "SECRET-of-the-upload"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its correct checksum."""
    return struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data))


def png_of(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims this size, with this compressed data."""
    header = struct.pack("!IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = data or zlib.compress(b"")
    return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def spiked(png: bytes, name: bytes, data: bytes) -> bytes:
    """A PNG with one additional chunk, right after its header."""
    return png[:33] + chunk(name, data) + png[33:]


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def talkative(kind: str) -> bytes:
    """120x80, with an EXIF rotation and a secret in every place where a file can hold one."""
    image = Image.linear_gradient("L").resize((120, 80)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = SECRET
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[29] = SECRET
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    more: dict[str, object] = {"exif": exif, "icc_profile": profile + SECRET.encode()}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", SECRET)
        text.add_text("More", SECRET, zip=True)
        text.add_itxt("XML:com.adobe.xmp", f"<x>{SECRET}</x>")
        return saved(image, kind, pnginfo=text, **more)
    if kind == "JPEG":
        more["comment"] = SECRET.encode()
    return saved(image, kind, xmp=f"<x>{SECRET}</x>".encode(), **more)


def friendly_names() -> dict[str, bytes]:
    """Other formats, each complete enough for its own decoder."""
    image = Image.new("RGB", (64, 64), "teal")
    kinds = ("PPM", "ICO", "TGA", "PCX", "EPS", "PDF", "JPEG2000", "DDS")
    made = {kind: saved(image, kind) for kind in kinds}
    fits = b"".join(
        text.ljust(80)
        for text in (
            b"SIMPLE  =                    T",
            b"BITPIX  =                    8",
            b"NAXIS   =                    2",
            b"NAXIS1  =                   64",
            b"NAXIS2  =                   64",
            b"END",
        )
    ).ljust(2880)
    return made | {
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='64'/>",
        "PSD": b"8BPS\0\1" + bytes(6) + struct.pack("!HIIHH", 3, 64, 64, 8, 3) + bytes(64),
        "JPEG XL": b"\xff\x0a" + bytes(64),
        "Canon CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(64),
        "Canon CR3": b"\0\0\0\x18ftypcrx " + bytes(64),
        "video": b"\0\0\0\x18ftypisom" + bytes(64),
        "FITS": fits + bytes(64 * 64),
        "MPEG": b"\0\0\1\xba" + bytes(64),
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "ZIP": b"PK\3\4" + bytes(64),
    }
