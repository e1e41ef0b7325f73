"""From stored bytes to the pixels that a job works on.

Owns sizes: the aspect is kept, nothing is blown up here. The bytes are our own
re-encode (the gateway normalised them), so decoding them here is safe.
"""

import numpy as np
from PIL import Image

from shared.errors import InvalidImage
from shared.kept import read_kept
from shared.params import JobParams
from shared.sizes import working_size
from worker.engine.interface import Pixels


def load_source(data: bytes, params: JobParams) -> Pixels:
    """Decode, and scale down where the job's result is to be smaller. Raises InvalidImage."""
    try:
        image = read_kept(data)
    except (OSError, ValueError) as error:
        raise InvalidImage("the stored picture cannot be read") from error
    size = working_size(image.size, params)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)
