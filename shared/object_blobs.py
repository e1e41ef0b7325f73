"""Blobs in an object store: Amazon's S3 and what speaks like it, Google Cloud Storage, Azure.

Owns names, expiry and the meaning of refusals. Needs the extra `s3` (obstore), which reads
credentials as each provider's own tools do: from its variables (AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, ...), a mounted token, or the machine's role.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from shared.errors import ImageNotFound, StoreRefuses, StoreUnavailable
from shared.kept import KeptAs
from shared.params import MEDIA_TYPES
from shared.settings import BadSettings

PART_BYTES = 8 * 2**20
RETRY = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}
# The endpoint is the operator's, who may have it inside the network without TLS.
CLIENT = {"timeout": "60s", "connect_timeout": "3s", "allow_http": True}
SWEEP_SECONDS = 600.0
# The time of an object's last change cannot be set, so it is written again when it has lived for
# half of its time, and deleted half of its time later.
RENEWED_AT, DELETED_AT = 0.5, 1.5
DELETED_AT_ONCE = 500

# What providers say, and what that means to whoever runs this.
REFUSALS = {
    "NoSuchBucket": "there is no such bucket",
    "ExpiredToken": "its credentials have expired",
    "TokenRefreshRequired": "its credentials have expired",
    "InvalidAccessKeyId": "its key is unknown there",
    "SignatureDoesNotMatch": "its secret key is wrong",
    "InvalidToken": "its session token is invalid",
    "AccessDenied": "its user may not do what retouch needs: get, put, list and delete objects",
    "PermanentRedirect": "the bucket is in another region (AWS_REGION)",
    "AuthorizationHeaderMalformed": "the bucket is in another region (AWS_REGION)",
}
CODE = re.compile(r"<Code>(\w+)</Code>")
# Words of obstore's own, where no credentials were found at all.
NO_CREDENTIALS = ("169.254.169.254", "Failed to get credentials", "InstanceMetadata")

logger = structlog.get_logger(__name__)


class ObjectBlobs:
    """Blobs as objects under one prefix of a bucket. Safe to share between threads."""

    kept_as: KeptAs = "webp"

    def __init__(self, url: str, ttl_seconds: int) -> None:
        self._ttl = ttl_seconds
        self._next_sweep = 0.0
        self._obstore, self._store = _opened(url)

    def put(self, name: str, data: bytes) -> None:
        attributes = {"Content-Type": _media_type(name), "Content-Disposition": "inline"}
        with _refusals_in_words():
            self._obstore.put(
                self._store,
                name,
                data,
                attributes=attributes,
                use_multipart=len(data) > PART_BYTES,
                chunk_size=PART_BYTES,
                max_concurrency=4,
            )

    def get(self, name: str) -> bytes:
        with _refusals_in_words():
            return bytes(self._obstore.get(self._store, name).bytes())

    def touch(self, name: str) -> bool:
        try:
            with _refusals_in_words():
                changed: datetime = self._obstore.head(self._store, name)["last_modified"]
            if _age(changed) > self._ttl * RENEWED_AT:
                self.put(name, self.get(name))
        except ImageNotFound:
            return False
        return True

    def delete(self, name: str) -> None:
        try:
            with _refusals_in_words():
                self._obstore.delete(self._store, name)
        except ImageNotFound:
            return

    def sweep(self) -> int:
        """Lists the whole prefix, so it does that every ten minutes only."""
        if time.monotonic() < self._next_sweep:
            return 0
        self._next_sweep = time.monotonic() + SWEEP_SECONDS
        deleted = 0
        with _refusals_in_words():
            for found in self._obstore.list(self._store, chunk_size=DELETED_AT_ONCE):
                old = [
                    item["path"]
                    for item in found
                    if _age(item["last_modified"]) > self._ttl * DELETED_AT
                ]
                if old:
                    self._obstore.delete(self._store, old)
                deleted += len(old)
        return deleted

    def free_bytes(self) -> int | None:
        return None

    def link(self, name: str, seconds: int) -> str | None:
        """Where anyone can fetch the blob for so long."""
        with _refusals_in_words():
            life = timedelta(seconds=seconds)
            return str(self._obstore.sign(self._store, "GET", name, life))


def examine_objects(blobs: object) -> None:
    """Tries what is needed of an object store. Raises StoreRefuses with a sentence,
    StoreUnavailable.
    """
    if not isinstance(blobs, ObjectBlobs):
        return
    name = f"probe/{datetime.now(UTC):%Y%m%d%H%M%S%f}"
    blobs.put(name, b"probe")
    blobs.get(name)
    blobs.sweep()
    blobs.delete(name)


def _opened(url: str) -> tuple[Any, Any]:
    try:
        import obstore
        from obstore.store import from_url
    except ImportError as error:
        raise BadSettings(
            "RETOUCH_BLOB_URL: object stores need the extra s3 (pip install '.[s3]')"
        ) from error
    config: Any = {"checksum_algorithm": "SHA256"} if url.startswith("s3://") else {}
    retry: Any = RETRY
    options: Any = CLIENT
    try:
        return obstore, from_url(url, config=config, client_options=options, retry_config=retry)
    except Exception as error:  # obstore's own, of several kinds
        raise BadSettings(f"RETOUCH_BLOB_URL: {_first_line(error)}") from error


@contextmanager
def _refusals_in_words() -> Iterator[None]:
    """Turns obstore's errors into ImageNotFound, StoreRefuses or StoreUnavailable."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise _meaning(error) from error


def _meaning(error: Exception) -> ImageNotFound | StoreRefuses | StoreUnavailable:
    text = str(error)
    found = CODE.search(text)
    code = found[1] if found else ""
    if code in REFUSALS:
        return StoreRefuses(f"the object store refuses: {REFUSALS[code]} ({code})")
    if isinstance(error, FileNotFoundError):
        return ImageNotFound("the picture is gone")
    if any(word in text for word in NO_CREDENTIALS):
        return StoreRefuses("the object store refuses: no credentials were found")
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return StoreRefuses(f"the object store refuses: {REFUSALS['AccessDenied']}")
    return StoreUnavailable(f"the object store does not answer ({type(error).__name__})")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _age(changed: datetime) -> float:
    # By this machine's clock: a lifetime of a day leaves room for a clock that is minutes wrong.
    return time.time() - changed.timestamp()


def _media_type(name: str) -> str:
    suffix = name.rpartition(".")[2]
    return next((kind for format, kind in MEDIA_TYPES.items() if format == suffix), "image/webp")
