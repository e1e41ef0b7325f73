"""Content Credentials: a signed statement in the file of who made it, and that a model took part.

Owns C2PA signing, an extra (`pip install '.[c2pa]'`) that is active if a certificate and its
key are set. It contains nothing of the upload, and contacts no other host. Source: C2PA
specification 2.2, actions and digital source types.
"""

import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from shared.params import MEDIA_TYPES, ImageFormat
from shared.settings import BadSettings, Settings
from worker.job.outputs import DIGITAL_SOURCE_TYPE

# Would add 12 KB to each file, and a small copy of the picture.
NO_THUMBNAIL = {"builder": {"thumbnail": {"enabled": False}}}


class Seal(Protocol):
    """Applied to a finished file before it is stored."""

    def __call__(self, data: bytes, image_format: ImageFormat) -> bytes:
        """The sealed file."""


def unsealed(data: bytes, image_format: ImageFormat) -> bytes:
    """Files unchanged: no certificate is set."""
    del image_format
    return data


def make_seal(settings: Settings) -> Seal:
    """The seal for these settings.

    Raises BadSettings if it cannot be made, so that no worker runs without it.
    """
    chain, key = settings.c2pa_certificate, settings.c2pa_key
    if not chain and not key:
        return unsealed
    if not chain or not key:
        raise BadSettings("RETOUCH_C2PA_CERTIFICATE and RETOUCH_C2PA_KEY need each other")
    try:
        return Credentials(
            Path(chain).read_bytes(), Path(key).read_bytes(), settings.c2pa_algorithm
        )
    except ImportError as error:
        raise BadSettings(
            "RETOUCH_C2PA_CERTIFICATE is set and c2pa-python is missing; "
            "install it in a checkout of retouch: pip install '.[c2pa]'"
        ) from error
    except (OSError, ValueError) as error:
        raise BadSettings(f"RETOUCH_C2PA_CERTIFICATE, RETOUCH_C2PA_KEY: {error}") from error


class Credentials:
    """Signs with one certificate. Safe to call from several threads."""

    def __init__(self, chain: bytes, key: bytes, algorithm: str) -> None:
        """Raises ImportError or ValueError if a test picture cannot be signed with these."""
        import c2pa

        self._c2pa: Any = c2pa
        self._info = c2pa.C2paSignerInfo(algorithm, chain, key, None)
        self._context = c2pa.Context(settings=c2pa.Settings.from_dict(NO_THUMBNAIL))
        self._manifest = json.dumps(_manifest())
        try:
            self(_smallest_picture(), "png")
        except c2pa.C2paError as error:
            raise ValueError(f"cannot sign: {error}") from error

    def __call__(self, data: bytes, image_format: ImageFormat) -> bytes:
        out = io.BytesIO()
        signer = self._c2pa.Signer.from_info(self._info)
        with self._c2pa.Builder(self._manifest, self._context) as builder, signer:
            builder.sign(signer, MEDIA_TYPES[image_format], io.BytesIO(data), out)
        return out.getvalue()


def _manifest() -> dict[str, Any]:
    action = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": "retouch", "version": version("retouch")}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }


def _smallest_picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    return out.getvalue()
