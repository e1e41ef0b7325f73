"""The certificate authorities that this machine trusts, read once: that takes 40 ms."""

import ssl
from functools import cache

import httpcore2


@cache
def system_trust() -> ssl.SSLContext:
    """The context for connections to other people's servers."""
    return httpcore2.default_ssl_context()
