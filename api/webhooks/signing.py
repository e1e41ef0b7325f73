"""Webhooks' secrets and signatures, as Standard Webhooks defines them.

Owns the secret that is generated if the operator has set none: it is stored under the data folder,
so that all gateways with that folder use the same one, also after a restart.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from shared.settings import BadSettings, Settings

PREFIX = "whsec_"
FILE = "webhook-secret"
SHORTEST_BYTES, LONGEST_BYTES = 24, 64


class Signer:
    """Signs with every secret, so that one can be replaced while the old one is still valid."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._hooks = [Webhook(text) for text in texts]

    def headers(self, message_id: str, body: str, now: datetime) -> dict[str, str]:
        """The three headers. `now` is an aware time."""
        at = now.astimezone(UTC)
        signatures = [hook.sign(message_id, at, body) for hook in self._hooks]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def make_signer(settings: Settings) -> Signer:
    """The signer with the configured secrets, or else the stored one. Raises BadSettings."""
    for place, text in enumerate(settings.webhook_secret, start=1):
        _check(text, place)
    return Signer(settings.webhook_secret or [_kept(settings.data_dir / FILE)])


def _check(text: str, place: int) -> None:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(PREFIX) or not SHORTEST_BYTES <= len(secret) <= LONGEST_BYTES:
        raise BadSettings(
            f"RETOUCH_WEBHOOK_SECRET: secret number {place} is not {PREFIX} and the base64 of "
            f"{SHORTEST_BYTES} to {LONGEST_BYTES} bytes"
        )


def _kept(path: Path) -> str:
    """The secret in this file, which only its owner may read; generated if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    own = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(drawn)
        os.link(own, path)  # atomic, and only if nobody was faster
    except FileExistsError:
        pass
    finally:
        own.unlink(missing_ok=True)
    return path.read_text().strip()
