"""The process that decodes what strangers send: nothing of ours but this file, and Pillow.

Owns turning any PNG, JPEG or WebP into upright RGB without metadata. It runs under limits on
memory, CPU time, files and file sizes, reads orders from stdin and answers on stdout, so that a
picture that breaks a decoder breaks this process and no other. Each message is a length, a JSON
header and the header's `size` bytes.
"""

import io
import json
import resource
import struct
import sys
from itertools import pairwise
from typing import Any, BinaryIO

from PIL import (
    Image,
    ImageCms,
    ImageFile,
    ImageFilter,
    ImageOps,
    ImageStat,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)

FORMATS = ("PNG", "JPEG", "WEBP")
PLUGINS = (PngImagePlugin, JpegImagePlugin, WebPImagePlugin, PpmImagePlugin)
# Bare pixels cost a hundredth of a lossless compression's time, on both ways, and twice its bytes.
KEPT_AS: dict[str, dict[str, Any]] = {
    "ppm": {"format": "PPM"},
    # quality is the effort when lossless: 0 takes 0.4 s for 3.4 megapixels, the default 8 s
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0, "exact": True},
}
CPU_SECONDS_EACH = 20
CPU_SECONDS_IN_ALL = 3600
OPEN_FILES = 16
# The deepest PNG, and an integer image; Pillow's own conversion would cut them off at 255.
# Quality is measured at this size, so that it says the same of every size of one photo.
QUALITY_SIDE = 512
# A Laplacian over two pixels: over one, rounding to 8 bits says as much as a blurred photo does.
SHRINK = 2
LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
# A sharp subject before a soft background is sharp, so the sharpest of 4 x 4 parts counts.
PARTS = 4
BRIGHT_SHARE = 0.99
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def main(memory_bytes: int) -> None:
    """Answer orders until stdin ends."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None  # the order says how many are too many
    Image.preinit()
    _limit(memory_bytes)
    while (message := _receive(sys.stdin.buffer)) is not None:
        _allow_cpu_time()
        header, body = _answer(*message)
        _send(sys.stdout.buffer, header, body)


def _answer(order: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        return normalise(data, int(order["max_pixels"]), str(order["kept_as"]))
    except (EOFError, struct.error) as error:
        return {"error": "image_truncated", "reason": repr(error)}, b""
    except OSError as error:
        code = "image_truncated" if "truncated" in str(error).lower() else "invalid_image"
        return {"error": code, "reason": repr(error)}, b""
    except Exception as error:
        # Pillow raises bare ValueError, SyntaxError, TypeError and more for damaged files.
        return {"error": "invalid_image", "reason": repr(error)}, b""


def normalise(data: bytes, max_pixels: int, kept_as: str) -> tuple[dict[str, Any], bytes]:
    """Upright sRGB at the picture's own size, as PPM or lossless WebP.

    Raises whatever Pillow raises for what cannot be decoded.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            return {"error": "image_too_large", "reason": "more pixels than the header said"}, b""
        warnings = []
        profile, orientation = image.info.get("icc_profile"), image.getexif().get(0x0112, 1)
        image.load()
        flat, had_alpha = _flatten(_to_srgb(_eight_bit(image), profile))
        if had_alpha:
            warnings.append("alpha_flattened")
    upright = _upright(flat, orientation)
    out = io.BytesIO()
    upright.save(out, **KEPT_AS[kept_as])
    header = {"width": upright.width, "height": upright.height, "warnings": warnings}
    return header | {"quality": measure(upright)}, out.getvalue()


def measure(image: Image.Image) -> dict[str, float]:
    """What can be told of an RGB picture's quality.

    `sharpness` is the Laplacian's variance, `light` the level (0..255) below which 99 % of the
    picture lies, `spread` the largest deviation of a colour channel.
    """
    small = image.copy()
    small.thumbnail((QUALITY_SIDE, QUALITY_SIDE), Image.Resampling.BILINEAR)
    luma = small.convert("L")
    return {
        "sharpness": round(_sharpness(luma), 2),
        "light": float(_level_below(luma.histogram(), BRIGHT_SHARE)),
        "spread": round(max(ImageStat.Stat(small).stddev), 2),
    }


def _sharpness(luma: Image.Image) -> float:
    half = luma.reduce(SHRINK)
    if min(half.size) < 2 + PARTS:
        return ImageStat.Stat(luma).var[0]
    detail = half.filter(LAPLACIAN).crop((1, 1, half.width - 1, half.height - 1))
    return max(ImageStat.Stat(part).var[0] for part in _parts(detail))


def _parts(image: Image.Image) -> list[Image.Image]:
    rows, columns = (
        [side * number // PARTS for number in range(PARTS + 1)]
        for side in (image.height, image.width)
    )
    boxes = (
        (left, top, right, bottom)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    )
    return [image.crop(box) for box in boxes]


def _level_below(histogram: list[int], share: float) -> int:
    wanted, seen = share * sum(histogram), 0
    for level, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return level
    return 255


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in DEEP_MODES:
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.mode in ("P", "PA") or (image.mode != "CMYK" and "transparency" in image.info):
        return image.convert("RGBA")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK"):
        return image
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as a screen without colour management shows them; phones tag wider spaces."""
    if not profile or image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        changed = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile: the numbers are the best guess
    return changed or image


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    if image.mode not in ("RGBA", "LA"):
        return image.convert("RGB"), False
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    low, _ = rgba.getchannel("A").getextrema()
    return Image.alpha_composite(white, rgba).convert("RGB"), low != 255


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    image.info.clear()
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    upright.info.clear()
    return upright


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _allow_cpu_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime)
    soft = min(spent + CPU_SECONDS_EACH, CPU_SECONDS_IN_ALL)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, CPU_SECONDS_IN_ALL))


def _receive(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    header = json.loads(stream.read(struct.unpack("!I", prefix)[0]))
    return header, stream.read(int(header["size"]))


def _send(stream: BinaryIO, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps({**header, "size": len(body)}).encode()
    stream.write(struct.pack("!I", len(text)) + text + body)
    stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
