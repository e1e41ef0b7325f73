"""Makes examples/portrait.jpg: a portrait with the damage of a small, much-copied JPEG.

    python examples/make_portrait.py

The original is the portrait of the astronaut Eileen Collins (NASA, public domain) that comes with
scikit-image. It is slightly blurred, halved, given sensor noise and saved as JPEG at quality 40,
from a fixed seed: running this again gives the same picture.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

BLUR_PIXELS = 1.2
NOISE_LEVELS = 6.0
JPEG_QUALITY = 40


def main() -> None:
    original = Image.fromarray(data.astronaut())
    blurred = original.filter(ImageFilter.GaussianBlur(BLUR_PIXELS))
    small = blurred.resize((original.width // 2, original.height // 2), Image.Resampling.BOX)
    noise = np.random.default_rng(2013).normal(0.0, NOISE_LEVELS, (small.height, small.width, 3))
    noisy = np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8)
    target = Path(__file__).with_name("portrait.jpg")
    Image.fromarray(noisy).save(target, quality=JPEG_QUALITY)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
