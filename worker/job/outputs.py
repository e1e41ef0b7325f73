"""From finished pixels to a file's bytes.

Owns formats and metadata: that the picture was made with AI, the recipe if requested, and the few
fields of the upload that `metadata=keep` keeps.
"""

import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.formats import fitting_format, settled_format
from shared.jobs import About, Source
from shared.params import ImageFormat, JobParams
from worker.engine.interface import Pixels
from worker.job.grey import is_grey
from worker.job.transparency import WHITE, Alpha, laid_on

# IPTC's term for a picture that a model has changed.
DIGITAL_SOURCE_TYPE = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="{source}">{recipe}</rdf:Description></rdf:RDF></x:xmpmeta>'
)
_RECIPE = '<retouch:recipe xmlns:retouch="urn:retouch:recipe">{text}</retouch:recipe>'

# zlib level 1 takes a quarter of Pillow's default time for a few per cent more bytes.
PNG_COMPRESSION = 1
# Chroma at full size (4:4:4); at half size the colours of small objects bleed.
FULL_COLOUR = 0
# Lossy WebP rounds green separately from red and blue, which would give grey a tint.
GREY_WEBP = {"lossless": True, "quality": 0, "method": 0}
EXIF_IFD, INCHES = 0x8769, 2


@dataclass(frozen=True)
class ResultFile:
    """A finished file; `given_up` holds codes of what its format could not represent."""

    data: bytes
    format: ImageFormat
    given_up: list[str]


def finished_file(
    pixels: Pixels, params: JobParams, source: Source, alpha: Alpha | None
) -> ResultFile:
    """The file in the settled format, or in the next one that supports its size."""
    side = max(pixels.shape[:2])
    wanted = settled_format(params.format, source.format, alpha is not None, side)
    image_format = fitting_format(wanted, side, alpha is not None)
    given_up = ["alpha_filled"] if image_format == "jpeg" and alpha is not None else []
    given_up += ["other_format"] if image_format != wanted else []
    data = encode_result(pixels, params, image_format, alpha, source.about)
    return ResultFile(data, image_format, given_up)


def encode_result(
    pixels: Pixels,
    params: JobParams,
    image_format: ImageFormat | None = None,
    alpha: Alpha | None = None,
    about: About | None = None,
) -> bytes:
    """The finished file in this format or the requested one. For JPEG, which has no transparency,
    transparent parts are filled with white.
    """
    image_format = image_format or settled_format(params.format, "png", alpha is not None, 0)
    told = _exif(about) if about and params.metadata == "keep" else {}
    xmp = _xmp(params)
    buffer = io.BytesIO()
    if image_format == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        told |= {"compress_level": PNG_COMPRESSION, "pnginfo": info}
        _picture(pixels, alpha).save(buffer, "PNG", **told)
    elif image_format == "jpeg":
        filled = pixels if alpha is None else laid_on(pixels, alpha, WHITE)
        told |= {"quality": params.quality, "subsampling": FULL_COLOUR}
        Image.fromarray(filled).save(buffer, "JPEG", xmp=xmp.encode(), **told)
    else:
        told |= GREY_WEBP if is_grey(pixels) else {"quality": params.quality, "method": 2}
        _picture(pixels, alpha).save(buffer, "WEBP", xmp=xmp.encode(), **told)
    return buffer.getvalue()


def encode_preview(pixels: Pixels, alpha: Alpha | None = None) -> bytes:
    """A small WebP as a first look."""
    buffer = io.BytesIO()
    how = GREY_WEBP if is_grey(pixels) else {"quality": 80, "method": 0}
    _picture(pixels, alpha).save(buffer, "WEBP", **how)
    return buffer.getvalue()


def _picture(pixels: Pixels, alpha: Alpha | None) -> Image.Image:
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


def _exif(about: About) -> dict[str, Any]:
    """EXIF in the form of Pillow's writers, and the resolution for formats with a separate field
    for it.
    """
    exif = Image.Exif()
    texts = {0x013B: about.author, 0x8298: about.copyright, 0x0132: about.taken_at}
    exif.update({tag: text for tag, text in texts.items() if text})
    own = {0x9003: about.taken_at, 0x9011: about.offset}
    exif.get_ifd(EXIF_IFD).update({tag: text for tag, text in own.items() if text})
    if about.dpi:
        exif.update({0x011A: about.dpi[0], 0x011B: about.dpi[1], 0x0128: INCHES})
    told: dict[str, Any] = {"exif": exif.tobytes()} if len(exif) else {}
    return told | ({"dpi": about.dpi} if about.dpi else {})


def recipe(params: JobParams) -> dict[str, Any]:
    """The parameters for making another picture like this one."""
    names = (
        "strength", "steps", "guidance_scale", "sampler", "timestep", "pixel_scale",
        "semantic_scale", "prompt", "negative_prompt", "seed", "fidelity", "pyramid",
    )  # fmt: skip
    chosen: dict[str, Any] = {name: getattr(params, name) for name in names}
    chosen["loras"] = [{"name": lora.name, "scale": lora.scale} for lora in params.loras]
    return chosen


def _xmp(params: JobParams) -> str:
    text = ""
    if params.embed_metadata:
        text = _RECIPE.format(text=_escaped(json.dumps(recipe(params), ensure_ascii=False)))
    return _XMP.format(source=DIGITAL_SOURCE_TYPE, recipe=text)


def _escaped(text: str) -> str:
    # XML 1.0 cannot represent these two characters, nor lone surrogates.
    text = text.translate({0xFFFE: "?", 0xFFFF: "?"}).encode("utf-8", "replace").decode()
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
