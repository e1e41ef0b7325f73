"""From stored bytes to the pixels that a job processes.

Owns sizes: the aspect ratio is kept, and nothing is enlarged here. The bytes are our own re-encoded
picture (the gateway normalised it), so decoding them here is safe.
"""

import numpy as np
from PIL import Image

from shared.errors import InvalidImage
from shared.kept import read_kept
from shared.params import JobParams
from shared.sizes import working_size
from worker.engine.interface import Pixels


def load_source(data: bytes, params: JobParams) -> Pixels:
    """Decodes the picture, and scales it down if the job's result is smaller. Raises
    InvalidImage.
    """
    try:
        image = read_kept(data)
    except (OSError, ValueError) as error:
        raise InvalidImage("the stored picture cannot be read") from error
    size = working_size(image.size, params)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(image)
