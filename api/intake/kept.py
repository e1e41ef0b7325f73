"""A kept upload as a browser can show it.

The bytes are our own (the decoding child made them), so decoding them here is safe.
"""

import io

from PIL import Image

from api.intake.decoder_child import KEPT_AS


def as_webp(kept: bytes) -> bytes:
    """Lossless WebP of what the blob store holds, which may be bare pixels."""
    if kept.startswith(b"RIFF"):
        return kept
    out = io.BytesIO()
    with Image.open(io.BytesIO(kept), formats=("PPM",)) as image:
        image.save(out, **KEPT_AS["webp"])
    return out.getvalue()
