"""API keys: who a caller is and what they may do.

Owns RETOUCH_API_KEYS' grammar. Keys are kept as sha256 only and compared in constant time over all
of them, so that neither memory nor timing tells a key.
"""

import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from shared.settings import BadSettings

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
DIGEST_PREFIX = "sha256:"
ANONYMOUS = "anonymous"


class Scope(StrEnum):
    """What a key may be for."""

    SUBMIT = "submit"
    READ = "read"
    ADMIN = "admin"


DEFAULT_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})
ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Caller:
    """Who sends a request. `name` owns the jobs; `is_known` is False without a key."""

    name: str
    scopes: frozenset[Scope]
    is_known: bool = True


@dataclass(frozen=True)
class _Key:
    digest: bytes
    caller: Caller


class Keyring:
    """The keys of this gateway, as digests."""

    def __init__(self, text: str) -> None:
        """Raises BadSettings when the text cannot be read; it never shows a key."""
        items = [item.strip() for item in text.split(",") if item.strip()]
        self._keys = [_parse(item, place) for place, item in enumerate(items, start=1)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, key: bytes) -> Caller | None:
        """The caller whose key this is."""
        digest, found = sha256(key).digest(), None
        for known in self._keys:  # all of them, always
            if hmac.compare_digest(known.digest, digest):
                found = known.caller
        return found


def _parse(item: str, place: int) -> _Key:
    name, secret = _split_name(item)
    secret, scopes = _split_scopes(secret, place)
    if not secret:
        raise _bad(place, "is empty")
    if secret.startswith(DIGEST_PREFIX):
        hexadecimal = secret.removeprefix(DIGEST_PREFIX)
        if not HEX_DIGEST.fullmatch(hexadecimal):
            raise _bad(place, "has a sha256 that is not 64 hexadecimal digits")
        digest = bytes.fromhex(hexadecimal)
    else:
        digest = sha256(secret.encode()).digest()
    if name == ANONYMOUS:
        raise _bad(place, "is called 'anonymous', which means callers without a key")
    return _Key(digest, Caller(name or f"key-{digest.hex()[:8]}", scopes))


def _split_name(item: str) -> tuple[str, str]:
    name, found, rest = item.partition("=")
    # A key itself may end in '=' (base64's padding).
    if found and NAME.fullmatch(name) and rest.strip("="):
        return name, rest
    return "", item


def _split_scopes(text: str, place: int) -> tuple[str, frozenset[Scope]]:
    head, found, tail = text.rpartition(":")
    if not found or f"{head}:" == DIGEST_PREFIX:
        return text, DEFAULT_SCOPES
    words = tail.split("+")
    if not set(words) <= {str(scope) for scope in Scope}:
        raise _bad(place, "ends in scopes other than submit, read and admin")
    scopes = frozenset(Scope(word) for word in words)
    return head, ALL_SCOPES if Scope.ADMIN in scopes else scopes


def _bad(place: int, what: str) -> BadSettings:
    return BadSettings(f"RETOUCH_API_KEYS: key number {place} {what}")
