"""Masks of jobs: checked, decoded, stored by the sha256 of the stored bytes.

Owns nothing that a caller could name: a mask belongs to the one job that it was sent with.
"""

from dataclasses import dataclass
from hashlib import sha256

from api.intake.decoder import Decoders
from api.intake.header import read_header
from api.intake.images import check_most
from shared.blobs import BlobStore
from shared.jobs import Mask
from shared.settings import Settings


@dataclass(frozen=True)
class AcceptedMask:
    """A decoded mask, whether its bytes are new, and whether it is black everywhere."""

    mask: Mask
    is_new: bool
    is_empty: bool


class Masks:
    """The masks that callers send. Called from threads; safe to share."""

    def __init__(self, blobs: BlobStore, decoders: Decoders, settings: Settings) -> None:
        self._blobs = blobs
        self._decoders = decoders
        self._settings = settings

    def accept(self, data: bytes, *, inverted: bool = False) -> AcceptedMask:
        """Checks, decodes and stores a mask. `inverted`: black is where the photo is replaced.

        Raises the errors of `Images.accept`, except ImageTooSmall.
        """
        header = read_header(data)
        check_most(header, self._settings)
        normal = self._decoders.mask(data, header.kind, inverted=inverted)
        blob = f"masks/{sha256(normal.data).hexdigest()}"
        mask = Mask(
            blob=blob, width=normal.width, height=normal.height, size_bytes=len(normal.data)
        )
        is_new = not self._blobs.touch(blob)
        if is_new:
            self._blobs.put(blob, normal.data)
        return AcceptedMask(mask, is_new, normal.is_empty)
