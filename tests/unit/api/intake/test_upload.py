"""How far a form is read, byte by byte."""

import asyncio

import pytest
from fastapi import Request

from api.intake.upload import FORM_OVERHEAD_BYTES, received_form
from shared.errors import MalformedMultipart, PayloadTooLarge, RetouchError

LIMIT = 100_000
CHUNK = 64 * 1024
HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


class Sender:
    """A sender without end that counts what is taken from it."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.taken = 0
        kind = (b"content-type", b"multipart/form-data; boundary=x")
        scope = {"type": "http", "method": "POST", "headers": [kind, *headers]}
        self.request = Request(scope, self._receive)

    async def _receive(self) -> dict[str, object]:
        body = HEAD if self.taken == 0 else bytes(CHUNK)
        self.taken += len(body)
        return {"type": "http.request", "body": body, "more_body": True}


async def read(request: Request) -> None:
    async with received_form(request, LIMIT):
        pass


@pytest.mark.parametrize("length", [None, b"5", b"-1", b"many"])
def test_an_endless_body_is_read_to_the_limit_and_one_chunk(length: bytes | None) -> None:
    sender = Sender(*([(b"content-length", length)] if length else []))

    with pytest.raises(PayloadTooLarge):
        asyncio.run(read(sender.request))

    assert sender.taken <= LIMIT + FORM_OVERHEAD_BYTES + CHUNK


def test_a_length_over_the_limit_is_not_read_at_all() -> None:
    sender = Sender((b"content-length", str(LIMIT + FORM_OVERHEAD_BYTES + 1).encode()))

    with pytest.raises(PayloadTooLarge):
        asyncio.run(read(sender.request))

    assert sender.taken == 0


def test_a_preamble_or_a_field_without_end_is_refused_early() -> None:
    for start in (b"", b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'):
        sender = Sender()

        async def receive(start: bytes = start, sender: Sender = sender) -> dict[str, object]:
            body = start if sender.taken == 0 and start else b"a" * CHUNK
            sender.taken += len(body)
            return {"type": "http.request", "body": body, "more_body": True}

        with pytest.raises(RetouchError) as refused:
            asyncio.run(read(Request(sender.request.scope, receive)))

        assert isinstance(refused.value, MalformedMultipart | PayloadTooLarge)
        assert sender.taken <= LIMIT + FORM_OVERHEAD_BYTES + CHUNK
