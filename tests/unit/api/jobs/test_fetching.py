"""A picture from an address that the caller names: off by default, and never from the inside."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.jobs.fetching import Fetcher, NotFetched
from api.webhooks.addresses import Allowed
from api.webhooks.pinned import PinnedNetwork
from api.wire.sentence import Sentence
from shared.errors import PayloadTooLarge
from shared.settings import Settings
from tests.support.pictures import photo
from tests.support.receivers import PUBLIC, Reaction, Resolver, Tap, hangs, receiving, says

Make = Callable[..., Settings]
URL = "http://photos.example/a.jpg"


def answer(body: bytes, status: str = "200 OK") -> Reaction:
    return says(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def fetch(settings: Settings, reaction: Reaction, address: str = PUBLIC, url: str = URL) -> bytes:
    async def work() -> bytes:
        async with receiving(reaction) as server:
            allowed = Allowed(settings.webhook_hosts)
            network = PinnedNetwork(allowed, Resolver([address]), Tap(server.port))
            return await Fetcher(settings, network, seconds=0.5).fetch(url)

    return asyncio.run(work())


def why(settings: Settings, reaction: Reaction, **where: str) -> str:
    with pytest.raises(NotFetched) as refused:
        fetch(settings, reaction, **where)
    assert refused.value.reason.zh
    return str(refused.value.reason)


@pytest.fixture
def settings(make_settings: Make) -> Settings:
    return make_settings(webhook_hosts="photos.example", max_upload_bytes=2048)


def test_the_bytes_at_the_address_are_the_picture(settings: Settings) -> None:
    assert fetch(settings, answer(b"picture")) == b"picture"


@pytest.mark.parametrize(
    ("reaction", "words"),
    [
        (answer(b"", "404 Not Found"), "answered 404"),
        (answer(b"", "302 Found"), "answered 302"),
        (hangs, "in time"),
        (says(b""), "broke off"),
    ],
    ids=["not-found", "redirects", "hangs", "closes"],
)
def test_an_address_that_gives_no_picture_is_said(
    settings: Settings, reaction: Reaction, words: str
) -> None:
    assert words in why(settings, reaction)


def test_a_file_that_is_too_large_is_left_when_that_is_known(settings: Settings) -> None:
    endless = says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 4096)

    with pytest.raises(PayloadTooLarge):
        fetch(settings, endless)


def test_a_name_that_resolves_into_the_network_is_not_fetched(make_settings: Make) -> None:
    settings = make_settings()

    for address in ("127.0.0.1", "10.0.0.7", "169.254.169.254", "::1"):
        said = why(settings, answer(b"secret"), address=address, url="https://photos.example/a")
        assert "private network" in said


# --- in a job


def ask(client: TestClient, **fields: str) -> dict[str, Any]:
    parts = {name: (None, text) for name, text in ({"lora": "none"} | fields).items()}
    body: dict[str, Any] = client.post("/v1/jobs", files=parts).json()
    return body


def pointers(body: dict[str, Any]) -> list[str]:
    return [str(error["pointer"]) for error in body["errors"]]


def test_image_url_is_refused_where_it_is_not_offered(client: TestClient) -> None:
    body = ask(client, image_url="https://photos.example/a.jpg")

    assert pointers(body) == ["/image_url"]
    assert "RETOUCH_IMAGE_URLS" in str(body["errors"])


@pytest.mark.parametrize(
    "url", ["http://photos.example/a", "https://127.0.0.1/a", "https://metadata.internal/a", "a"]
)
def test_an_address_that_webhooks_may_not_have_is_refused_at_once(
    gateway: Callable[..., TestClient], url: str
) -> None:
    assert pointers(ask(gateway(image_urls=True), image_url=url)) == ["/image_url"]
    assert pointers(ask(gateway(), image_id="a" * 64, result_url=url)) == ["/result_url"]


def test_there_is_one_picture_for_a_job(gateway: Callable[..., TestClient]) -> None:
    client = gateway(image_urls=True)

    both = ask(client, image_url="https://photos.example/a", image_id="a" * 64)

    assert pointers(both) == ["/image_url"]


def test_a_picture_that_could_not_be_fetched_is_said_at_the_field(
    gateway: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def missing(*_: object) -> bytes:
        raise NotFetched(Sentence("answered 404", "返回了 404"))

    monkeypatch.setattr(Fetcher, "fetch", missing)

    body = ask(gateway(image_urls=True), image_url="https://photos.example/a.jpg")

    assert body["errors"] == [{"pointer": "/image_url", "detail": "answered 404"}]


def test_a_job_is_made_of_the_picture_at_its_address(
    gateway: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetched(*_: object) -> bytes:
        return photo()

    monkeypatch.setattr(Fetcher, "fetch", fetched)
    client = gateway(image_urls=True)

    job = ask(client, image_url="https://photos.example/a.jpg")

    assert (job["state"], job["source"]["width"]) == ("queued", 64)
