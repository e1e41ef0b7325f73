"""From finished pixels to a file's bytes.

Owns formats and what metadata goes in: that the picture was made with AI, and the recipe when asked
for. Nothing of the upload is ever in it, since only pixels come this far.
"""

import io
import json
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.params import JobParams
from worker.engine.interface import Pixels

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

# zlib level 1 costs a quarter of Pillow's default time for a few per cent more bytes.
PNG_COMPRESSION = 1


def encode_result(pixels: Pixels, params: JobParams) -> bytes:
    """The finished file in the job's format."""
    image = Image.fromarray(pixels)
    xmp = _xmp(params)
    buffer = io.BytesIO()
    if params.format == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(buffer, "PNG", compress_level=PNG_COMPRESSION, pnginfo=info)
    elif params.format == "jpeg":
        image.save(buffer, "JPEG", quality=params.quality, xmp=xmp.encode())
    else:
        image.save(buffer, "WEBP", quality=params.quality, method=2, xmp=xmp.encode())
    return buffer.getvalue()


def encode_preview(pixels: Pixels) -> bytes:
    """A small WebP for a first look."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=80, method=0)
    return buffer.getvalue()


def recipe(params: JobParams) -> dict[str, Any]:
    """What somebody needs to make another picture like this one."""
    names = ("strength", "steps", "guidance_scale", "prompt", "negative_prompt", "seed", "fidelity")
    chosen: dict[str, Any] = {name: getattr(params, name) for name in names}
    chosen["loras"] = [{"name": lora.name, "scale": lora.scale} for lora in params.loras]
    return chosen


def _xmp(params: JobParams) -> str:
    text = ""
    if params.embed_metadata:
        text = _RECIPE.format(text=_escaped(json.dumps(recipe(params), ensure_ascii=False)))
    return _XMP.format(source=DIGITAL_SOURCE_TYPE, recipe=text)


def _escaped(text: str) -> str:
    # XML 1.0 has no way to write these two, nor half a pair.
    text = text.translate({0xFFFE: "?", 0xFFFF: "?"}).encode("utf-8", "replace").decode()
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
