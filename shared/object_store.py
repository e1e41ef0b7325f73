"""Object stores: how one is opened, and what its refusals mean.

Needs the extra `s3` (obstore), which reads credentials as each provider's own tools do: from its
variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), a mounted token, or the machine's role.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from shared.errors import ImageNotFound, StoreRefuses, StoreUnavailable
from shared.settings import BadSettings

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


def open_store(url: str, setting: str) -> tuple[Any, Any]:
    """The library, and the store at this address. Raises BadSettings, which names the setting."""
    try:
        import obstore
        from obstore.store import from_url
    except ImportError as error:
        raise BadSettings(
            f"{setting}: object stores need the extra s3 (pip install '.[s3]')"
        ) from error
    config: Any = {"checksum_algorithm": "SHA256"} if url.startswith("s3://") else {}
    retry: Any = RETRY
    options: Any = CLIENT
    try:
        return obstore, from_url(url, config=config, client_options=options, retry_config=retry)
    except Exception as error:  # obstore's own, of several kinds
        raise BadSettings(f"{setting}: {_first_line(error)}") from error


@contextmanager
def refusals_in_words() -> Iterator[None]:
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
