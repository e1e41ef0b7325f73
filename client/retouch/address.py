"""Where the command line finds the service, and with which key.

Owns RETOUCH_URL, RETOUCH_API_KEY, RETOUCH_HOST and RETOUCH_PORT for installations with the client
alone. If the server's packages are installed, its settings give the same values and read `.env` as
well.
"""

import os
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}
DEFAULT_PORT = "8000"


@dataclass(frozen=True)
class Address:
    """A service's URL and key, and whether it was configured or is only the default."""

    url: str
    api_key: str | None
    is_named: bool


def find_address() -> Address:
    """The address in this machine's settings."""
    try:
        from shared.settings import load_settings
    except ModuleNotFoundError:
        return _from_environment()
    settings = load_settings()
    return _address(settings.url, settings.api_key, settings.host, settings.port)


def reachable_url(host: str, port: int | str) -> str:
    """The address at which a browser on this machine reaches a server bound to `host`."""
    name = ANY_ADDRESS.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def _from_environment() -> Address:
    names = ("RETOUCH_URL", "RETOUCH_API_KEY", "RETOUCH_HOST")
    url, api_key, host = (os.environ.get(name, "") for name in names)
    return _address(url, api_key, host, os.environ.get("RETOUCH_PORT") or DEFAULT_PORT)


def _address(url: str, api_key: str, host: str, port: int | str) -> Address:
    return Address(url or reachable_url(host, port), api_key or None, is_named=bool(url))
