"""Makes the page's sample: a small, noisy selfie, and what the service makes of it.

`python examples/make_sample.py jesper.jpg http://127.0.0.1:8000`, with the photo of that name from
the demo of Debian's package kphotoalbum, and the address of a service with the embedded base.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from retouch.client import Client

STATIC = Path(__file__).parents[1] / "api" / "static"
SIDES = (330, 220)
SHOWN = (792, 528)
NOISE = np.array([13.0, 10.4, 14.3])  # grey levels, by channel, as of a phone at night


def main(photo: str, url: str) -> None:
    before = damaged(Image.open(photo).convert("RGB"))
    (STATIC / "sample.webp").write_bytes(before)
    with Client(url) as client:
        made = client.image(client.wait(client.submit(STATIC / "sample.webp")))
    with Image.open(io.BytesIO(made)) as after:
        after.convert("RGB").resize(SHOWN, Image.Resampling.LANCZOS).save(
            STATIC / "sample-after.webp", quality=28, method=6
        )


def damaged(photo: Image.Image) -> bytes:
    """The photo, small and noisy, as WebP."""
    small = np.asarray(photo.crop((0, 0, 798, 532)).resize(SIDES, Image.Resampling.LANCZOS), float)
    noisy = small + np.random.default_rng(0).normal(0, 1, small.shape) * NOISE
    out = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "WEBP", quality=50, method=6)
    return out.getvalue()


if __name__ == "__main__":
    main(*sys.argv[1:3])
