"""The host names by which this service may be called: protection against DNS rebinding.

Any site's host name can be made to resolve to this machine, and its page could then read the
answers. If no key is required, only names that strangers cannot own, and those in the settings, are
accepted.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from api.wire.sentence import Sentence
from shared.errors import Forbidden
from shared.settings import Settings

# Never in the public DNS (RFC 6761, RFC 6762, RFC 8375, ICANN's choices); the last two are not
# reserved, but many routers assign them and nobody can register them.
PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".home.arpa", ".lan", ".home")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class HostNames:
    """The names of one deployment."""

    def __init__(self, settings: Settings) -> None:
        is_open = not settings.api_keys or settings.allow_anonymous
        urls = [*settings.public_url, *settings.cors_origins]
        own = {settings.host.lower(), socket.gethostname().lower()}
        self._known = own | {name_of(url) for url in urls}
        self._any = not is_open or "*" in settings.cors_origins

    def check(self, host: str) -> None:
        """Checks `host` from the request's header. Raises Forbidden."""
        name = name_of(f"//{host}")
        if self._any or not host or name in self._known or _is_private(name):
            return
        setting = f"RETOUCH_PUBLIC_URL=https://{host[:200]}"
        raise Forbidden(
            Sentence(
                f"this service does not answer to the name {host[:200]}; {setting} lets it",
                f"本服务不接受主机名 {host[:200]}；设置 {setting} 即可使用",
            )
        )


def netloc_of(url: str) -> str:
    """Name and port as browsers send them: without the scheme's default port."""
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(DEFAULT_PORTS[parts.scheme])


def name_of(url: str) -> str:
    """The host's name, in lower case and without a port; empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_private(name: str) -> bool:
    if not name:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(PRIVATE_ENDINGS)
    return True
