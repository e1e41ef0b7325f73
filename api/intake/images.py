"""Uploaded pictures: checked, normalised, stored by the sha256 of the stored bytes.

Owns `image:{id}` in the store: size, and who has uploaded it. Two callers who send the same picture
share its bytes; neither learns of the other.
"""

import json
from hashlib import sha256
from typing import Any, cast

import redis

from api.intake.accepted import Accepted
from api.intake.decoder import Decoders
from api.intake.header import Header, read_header
from api.intake.quality import Quality
from api.intake.quality_check import short_side
from api.wire.sentence import Sentence
from shared.blobs import BlobStore
from shared.errors import ImageNotFound, ImageTooLarge, ImageTooSmall, StorageFull
from shared.jobs import Source
from shared.ledger.redis_client import translated_errors
from shared.settings import Settings
from shared.sizes import fitting, megapixels

ID_LENGTH = 64
# Properties of the pixels, and those that may differ between two callers' files with the same
# pixels.
AS_KEPT = {"blob", "width", "height", "size_bytes"}
AS_SENT = {"format", "has_alpha", "warnings", "about"}


class Images:
    """The pictures that callers have uploaded. Called from threads; safe to share."""

    def __init__(
        self, client: redis.Redis, blobs: BlobStore, decoders: Decoders, settings: Settings
    ) -> None:
        self._redis = client
        self._blobs = blobs
        self._decoders = decoders
        self._settings = settings

    def check_room(self) -> int | None:
        """The bytes that may still be used, if known. Raises StorageFull when the disk is nearly
        full.
        """
        free = self._blobs.free_bytes()
        room = None if free is None else free - self._settings.min_free_bytes
        if room is not None and room < 0:
            raise StorageFull()
        return room

    def accept(self, data: bytes, client: str) -> Accepted:
        """Checks, normalises and stores an upload.

        Raises InvalidImage, ImageTruncated, ImageTooLarge, ImageTooSmall, AnimatedImage,
        UnsupportedMediaType, StorageFull, StoreUnavailable.
        """
        header = read_header(data)
        self._check_least(header)
        check_most(header, self._settings)
        normal = self._decoders.normalise(data, header.kind)
        image_id = sha256(normal.data).hexdigest()
        source = Source(
            image_id=image_id,
            blob=f"sources/{image_id}",
            width=normal.width,
            height=normal.height,
            size_bytes=len(normal.data),
            format=header.kind,
            has_alpha=normal.has_alpha,
            warnings=normal.warnings + (["first_page"] if header.pages > 1 else []),
            about=normal.about,
        )
        if not self._blobs.touch(source.blob):
            self._blobs.put(source.blob, normal.data)
        is_new = self._record(source, normal.quality, client)
        return Accepted(source, source.warnings, is_new, normal.quality)

    def find(self, image_id: str, client: str) -> Accepted:
        """An earlier upload of this caller, with its time to live renewed. Raises ImageNotFound."""
        key = _key(image_id)
        with translated_errors():
            fields = cast(dict[str, str], self._redis.hgetall(key))
        sent = fields.get(f"client:{client}")
        if sent is None or not self._blobs.touch(fields["blob"]):
            raise ImageNotFound()
        with translated_errors():
            self._redis.expire(key, self._settings.result_ttl_seconds)
        source = Source(
            image_id=image_id,
            blob=fields["blob"],
            width=int(fields["width"]),
            height=int(fields["height"]),
            size_bytes=int(fields["size_bytes"]),
            **_as_sent(sent),
        )
        known = fields.get("quality")
        quality = Quality.model_validate_json(known) if known else None
        return Accepted(source, [], is_new=False, quality=quality)

    def _record(self, source: Source, quality: Quality, client: str) -> bool:
        """Records the picture; returns whether it is new to the client."""
        key = _key(source.image_id)
        mapping: Any = source.model_dump(include=AS_KEPT)
        mapping["quality"] = quality.model_dump_json()
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=mapping)
            pipe.hset(key, f"client:{client}", source.model_dump_json(include=AS_SENT))
            pipe.expire(key, self._settings.result_ttl_seconds)
            return bool(pipe.execute()[1])

    def _check_least(self, header: Header) -> None:
        least = self._settings.min_side
        if min(header.width, header.height) < least:
            raise ImageTooSmall(short_side(header.width, header.height, least))


def check_most(header: Header, settings: Settings) -> None:
    """Raises ImageTooLarge for more pixels, or a longer side, than are accepted here."""
    most, longest = settings.max_pixels, settings.max_side
    size = header.width, header.height
    if megapixels(size) * 1e6 > most or max(size) > longest:
        width, height = fitting(size, most, longest)
        claimed = f"{header.width}x{header.height}"
        raise ImageTooLarge(
            Sentence(
                f"{claimed} is {megapixels(size):.1f} megapixels; at most {most / 1e6:g}, and "
                f"{longest} pixels a side, are accepted here: {width}x{height} would be",
                f"{claimed} 为 {megapixels(size):.1f} 百万像素；这里最多接受 {most / 1e6:g} "
                f"百万像素，边长 {longest} 像素：缩小到 {width}x{height} 即可",
            )
        )


def _as_sent(text: str) -> dict[str, Any]:
    """The properties of this caller's own file."""
    known: Any = json.loads(text)
    return known if isinstance(known, dict) else {}


def _key(image_id: str) -> str:
    if len(image_id) != ID_LENGTH or not set(image_id) <= set("0123456789abcdef"):
        raise ImageNotFound()
    return f"image:{image_id}"
