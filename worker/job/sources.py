"""From stored bytes to the pixels that a job works on.

Owns sizes: the aspect is kept, nothing is blown up unless it was asked for. The bytes are our own
re-encode (the gateway normalised them), so decoding them here is safe.
"""

import io

import numpy as np
from PIL import Image

from shared.errors import InvalidImage
from shared.params import JobParams
from worker.engine.interface import Pixels


def load_source(data: bytes, params: JobParams) -> Pixels:
    """Decode and scale to the job's size. Raises InvalidImage."""
    try:
        image = Image.open(io.BytesIO(data), formats=("PPM", "WEBP", "PNG", "JPEG")).convert("RGB")
    except (OSError, ValueError) as error:
        raise InvalidImage("the stored picture cannot be read") from error
    size = target_size(image.size, params)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def target_size(size: tuple[int, int], params: JobParams) -> tuple[int, int]:
    """Width and height of the result: `upscale` first, then at most `max_side`."""
    width, height = size
    factor = min(params.upscale, params.max_side / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))
