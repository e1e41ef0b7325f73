"""From stored bytes to the pixels that a job processes.

Owns sizes: the aspect ratio is kept, and nothing is enlarged here. The bytes are our own re-encoded
picture (the gateway normalised it), so decoding them here is safe.
"""

import numpy as np
from PIL import Image

from shared.errors import InvalidImage
from shared.kept import bare_pixels_of, read_kept
from shared.params import JobParams
from shared.sizes import working_size
from worker.engine.interface import Pixels


def load_source(data: bytes, params: JobParams) -> Pixels:
    """Decodes the picture, and scales it down if the job's result is smaller. Raises
    InvalidImage.
    """
    try:
        bare = bare_pixels_of(data)
        if bare is not None and working_size(bare[0], params) == bare[0]:
            return _rows(data, *bare)
        image = read_kept(data)
    except (OSError, ValueError) as error:
        raise InvalidImage("the stored picture cannot be read") from error
    size = working_size(image.size, params)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _rows(data: bytes, size: tuple[int, int], offset: int) -> Pixels:
    """The pixels as they are stored, without a copy."""
    width, height = size
    rows = np.frombuffer(data, np.uint8, width * height * 3, offset)
    return rows.reshape(height, width, 3)
