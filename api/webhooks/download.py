"""Downloads one file from a checked address.

Owns the limit on bytes. Follows no redirect. Callers own the limit on time and the words.
"""

import ssl

import httpcore2

from api.webhooks.addresses import Target

OK = 200


class BadAnswer(Exception):
    """Raised if the answer is not the file; its argument is the status."""


class TooLarge(Exception):
    """Raised as soon as a file is larger than was allowed."""


async def download(
    target: Target,
    network: httpcore2.AsyncNetworkBackend,
    trust: ssl.SSLContext,
    most: int,
    header: tuple[str, str],
) -> bytes:
    """The file, of at most `most` bytes. Raises BadAnswer, TooLarge, and httpcore2's errors."""
    url = httpcore2.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )
    async with (
        httpcore2.AsyncConnectionPool(trust, network_backend=network) as pool,
        pool.stream("GET", url, headers=[header]) as answer,
    ):
        if answer.status != OK:
            raise BadAnswer(answer.status)
        body = bytearray()
        async for part in answer.aiter_stream():
            body += part
            if len(body) > most:
                raise TooLarge
        return bytes(body)
