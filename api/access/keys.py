"""API keys: who a caller is and what they may do.

Owns the grammar of RETOUCH_API_KEYS, `[NAME=]KEY[:WORD+WORD]` with scopes and limits as words. Keys
are kept only as sha256 and compared in constant time with all of them, so that neither memory nor
timing reveals a key.
"""

import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from api.access.rate import Rate, read_rate
from shared.settings import BadSettings

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
DIGEST_PREFIX = "sha256:"
ANONYMOUS = "anonymous"


class Scope(StrEnum):
    """What a key may be used for."""

    SUBMIT = "submit"
    READ = "read"
    METRICS = "metrics"
    ADMIN = "admin"


DEFAULT_SCOPES = frozenset({Scope.SUBMIT, Scope.READ})
ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True)
class Caller:
    """The sender of a request. `name` owns the jobs; `is_known` is False without a key.

    `rate` and `jobs` are the key's own limits; None means the deployment's. `address` is known of
    callers without a key.
    """

    name: str
    scopes: frozenset[Scope]
    is_known: bool = True
    rate: Rate | None = None
    jobs: int | None = None
    address: str = ""

    @property
    def place(self) -> str:
        """Whose places it takes: the key's; without one, the address's. This machine's callers, and
        those that a proxy of it does not tell apart, have the common ones alone.
        """
        if self.is_known or not self.address or is_loopback(self.address):
            return self.name
        return f"{self.name}@{self.address}"

    @property
    def sender(self) -> str:
        """What tells this caller from others of its name, without the address itself."""
        return "" if self.place == self.name else sha256(self.place.encode()).hexdigest()[:16]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class _Key:
    digest: bytes
    caller: Caller


class Keyring:
    """The keys of this gateway, as digests."""

    def __init__(self, items: Sequence[str]) -> None:
        """Raises BadSettings if an item cannot be parsed; the message never contains a key."""
        self._keys = [_parse(item, place) for place, item in enumerate(items, start=1)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, key: bytes) -> Caller | None:
        """The caller to whom this key belongs."""
        digest, found = sha256(key).digest(), None
        for known in self._keys:  # always all of them
            if hmac.compare_digest(known.digest, digest):
                found = known.caller
        return found


def _parse(item: str, place: int) -> _Key:
    name, rest = _split_name(item)
    secret, words = _split_words(rest)
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
    return _Key(digest, _caller(name or f"key-{digest.hex()[:8]}", words, place))


def _caller(name: str, words: list[str], place: int) -> Caller:
    """Parses the words after a key: scopes, `rate=60/minute`, `jobs=4`."""
    scopes = {word for word in words if "=" not in word}
    limits = dict(word.split("=", 1) for word in words if "=" in word)
    if not scopes <= {str(scope) for scope in Scope}:
        raise _bad(place, "ends in scopes other than submit, read and admin")
    if not set(limits) <= {"rate", "jobs"} or not limits.get("jobs", "1").isdecimal():
        raise _bad(place, "ends in limits other than rate=60/minute and jobs=4")
    try:
        rate = read_rate(limits["rate"]) if "rate" in limits else None
    except ValueError as error:
        raise _bad(place, "has a rate that is neither off nor like 60/minute") from error
    held = frozenset(Scope(word) for word in scopes) or DEFAULT_SCOPES
    return Caller(
        name,
        ALL_SCOPES if Scope.ADMIN in held else held,
        rate=rate,
        jobs=int(limits["jobs"]) if "jobs" in limits else None,
    )


def _split_name(item: str) -> tuple[str, str]:
    name, found, rest = item.partition("=")
    # A key itself may end in '=' (base64's padding).
    if found and NAME.fullmatch(name) and rest.strip("="):
        return name, rest
    return "", item


def _split_words(text: str) -> tuple[str, list[str]]:
    head, found, tail = text.rpartition(":")
    if not found or f"{head}:" == DIGEST_PREFIX:
        return text, []
    return head, tail.split("+")


def _bad(place: int, what: str) -> BadSettings:
    return BadSettings(f"RETOUCH_API_KEYS: key number {place} {what}")
