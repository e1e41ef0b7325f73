"""A stored upload in a format that browsers can show.

The bytes are our own (the decoding child made them), so decoding them here is safe.
"""

from shared.kept import compressed, read_kept_whole

PNG_MAGIC = b"\x89PNG"


def as_shown(kept: bytes) -> tuple[bytes, str]:
    """The stored picture as lossless WebP, or as PNG if it is too large for that, and its media
    type.
    """
    shown = kept if kept.startswith((b"RIFF", PNG_MAGIC)) else compressed(read_kept_whole(kept))
    return shown, "image/png" if shown.startswith(PNG_MAGIC) else "image/webp"
