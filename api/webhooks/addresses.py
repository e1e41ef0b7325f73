"""Where a webhook may go: to https addresses outside this network, and not to those that only look
so.

Owns the rules for addresses, both as a caller writes them and as a resolver answers. Sources:
IANA's special-purpose registries (RFC 6890 and its successors), RFC 6052 (NAT64), RFC 3056 (6to4),
RFC 4380 (Teredo), RFC 4291 (mapped and compatible addresses), large clouds' metadata addresses.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from api.wire.sentence import Sentence

PORTS = {"http": 80, "https": 443}
PLAIN = re.compile(r"[\x21-\x5b\x5d-\x7e]+")  # no spaces, no controls, no backslash
HOST = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
# Names that mean this machine or this network, whichever resolver answers.
INSIDE_SUFFIXES = ("localhost", "local", "internal", "lan", "home.arpa", "intranet", "corp")

# `ipaddress.is_global` is True for each of these.
MISLEADING = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",  # 6to4 relays
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata at .192
        "168.63.129.16/32",  # a cloud's wire server
        "2001::/32",  # Teredo: contains an IPv4 address
        "2002::/16",  # 6to4: contains an IPv4 address
        "2001:20::/28",  # ORCHIDv2
        "3fff::/20",  # documentation
    )
)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Target:
    """A webhook's address in parts, so that no two parsers can read it differently."""

    scheme: str
    host: str
    port: int
    path: str


class AddressRefused(Exception):
    """Raised when a webhook's address is not allowed; its argument is a Sentence that says why."""


class Allowed:
    """RETOUCH_WEBHOOK_HOSTS: hosts that webhooks may reach by http and inside this network."""

    def __init__(self, items: Iterable[str]) -> None:
        self._entries = {item.lower() for item in items}

    def has(self, host: str, port: int) -> bool:
        return host in self._entries or f"{host}:{port}" in self._entries


def parse_target(url: str, allowed: Allowed) -> Target:
    """Checks the address that a caller wrote, as far as possible without a resolver.

    Raises AddressRefused.
    """
    target = _in_parts(url)
    if allowed.has(target.host, target.port):
        return target
    if target.scheme != "https":
        raise AddressRefused(Sentence("must be an https:// address", "必须是 https:// 地址"))
    literal = _literal(target.host)
    if literal is not None:
        if not is_outside(literal):
            raise AddressRefused(Sentence("must not be in a private network", "不能指向内部网络"))
    elif _is_inside_name(target.host):
        raise AddressRefused(Sentence("must not be in a private network", "不能指向内部网络"))
    return target


def is_outside(address: IpAddress) -> bool:
    """Whether an address is a host of the public internet, including addresses embedded in it."""
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address not in GLOBAL_UNICAST:
        return False  # NAT64, IPv4-mapped, IPv4-compatible
    return not any(
        address in network for network in MISLEADING if network.version == address.version
    )


def _in_parts(url: str) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused(Sentence("is not a valid address", "不是有效的地址")) from error
    host = (parts.hostname or "").rstrip(".").lower()
    if not PLAIN.fullmatch(url) or parts.scheme not in PORTS or port == 0:
        raise AddressRefused(Sentence("must be an https:// address", "必须是 https:// 地址"))
    if "@" in parts.netloc:
        raise AddressRefused(
            Sentence("must not contain a user name or a password", "不能包含用户名或密码")
        )
    if not (HOST.fullmatch(host) or _literal(host)):
        raise AddressRefused(Sentence("names no reachable host", "没有可访问的主机名"))
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, port or PORTS[parts.scheme], (parts.path or "/") + query)


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_inside_name(host: str) -> bool:
    last = host.rpartition(".")[2]
    # If the last label is a number, a resolver reads the whole name as an IPv4 address, in forms
    # such as 2130706433, 0x7f.1 and 127.1.
    numeric = last.isdecimal() or last.startswith("0x")
    inside = any(host == name or host.endswith(f".{name}") for name in INSIDE_SUFFIXES)
    return numeric or inside or "." not in host
