"""A stored upload in a format that browsers can show.

The bytes are our own (the decoding child made them), so decoding them here is safe.
"""

import io

from shared.kept import LONGEST_WEBP_SIDE, LOSSLESS_WEBP, read_kept_whole


def as_shown(kept: bytes) -> tuple[bytes, str]:
    """The stored picture as lossless WebP, or as PNG if a side is too long for that, and its media
    type.
    """
    if kept.startswith(b"RIFF"):
        return kept, "image/webp"
    out = io.BytesIO()
    image = read_kept_whole(kept)
    if max(image.size) > LONGEST_WEBP_SIDE:
        image.save(out, "PNG", compress_level=1)
        return out.getvalue(), "image/png"
    image.save(out, **LOSSLESS_WEBP)
    return out.getvalue(), "image/webp"
