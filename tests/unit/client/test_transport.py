"""Whom a client trusts: reading the authorities takes longer than all else in its start."""

import asyncio
import ssl

import pytest

from retouch.transport import AsyncTransport, BlockingTransport


@pytest.mark.parametrize(("url", "times"), [("http://a.test", 0), ("https://a.test", 1)])
@pytest.mark.parametrize("kind", [BlockingTransport, AsyncTransport])
def test_authorities_are_read_only_for_an_address_with_tls(
    kind: type[BlockingTransport] | type[AsyncTransport],
    url: str,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contexts: list[ssl.SSLContext] = []

    def read(**_: object) -> ssl.SSLContext:
        contexts.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return contexts[-1]

    monkeypatch.setattr("httpcore2.default_ssl_context", read)

    asyncio.run(kind(url, {}).close())

    assert len(contexts) == times
