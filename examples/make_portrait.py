"""Makes examples/portrait.jpg: a small portrait that is out of focus.

    python -m examples.make_portrait

The original is the portrait of the astronaut Eileen Collins (NASA, public domain) that comes with
scikit-image: the part with her face, slightly out of focus and saved as JPEG at quality 93, from a
fixed seed: running this again gives the same picture.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from worker.training.damage import SORTS

SIDE = 256
LEFT = 90
BLUR_PIXELS = 1.5
JPEG_QUALITY = 93


def main() -> None:
    face = np.ascontiguousarray(data.astronaut()[:SIDE, LEFT : LEFT + SIDE])
    unsharp = SORTS["defocus"].make(face, BLUR_PIXELS, np.random.default_rng(3))
    target = Path(__file__).with_name("portrait.jpg")
    Image.fromarray(unsharp).save(target, quality=JPEG_QUALITY)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
