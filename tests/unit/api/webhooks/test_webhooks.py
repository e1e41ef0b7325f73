"""Webhooks on their way: signed, tried again, never into the inside, whatever the receiver does."""

import asyncio
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from standardwebhooks import Webhook, WebhookVerificationError

from api.webhooks.addresses import Allowed
from api.webhooks.courier import Courier
from api.webhooks.pinned import PinnedNetwork
from api.webhooks.sender import Sender, judge
from api.webhooks.signing import Signer, make_signer
from shared.blobs import BlobStore
from shared.jobs import Delivery, DeliveryState, JobSpec, JobState
from shared.ledger.store import JobStore
from shared.ledger.webhooks import Deliveries, Due
from shared.messages import webhook_message
from shared.settings import BadSettings, Settings
from tests.support.certificates import Authority, cert_pem
from tests.support.fleet import claim, finish
from tests.support.jobs import make_spec
from tests.support.receivers import (
    OK,
    PUBLIC,
    Reaction,
    Receiver,
    Resolver,
    Tap,
    drips,
    hangs,
    receiving,
    says,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOK = "http://hooks.example/x?token=t"
LIST = Allowed(["hooks.example"])  # by http; the rules of addresses are bent where a test says so
SOON = (0.05,) * 8


@pytest.fixture
def deliveries(redis_client: redis.Redis, settings: Settings) -> Deliveries:
    return Deliveries(redis_client, settings)


def ended(store: JobStore, url: str = HOOK, **params: object) -> JobSpec:
    """A job that was canceled before it began: the shortest way to an end."""
    spec = make_spec(webhook_url=url, **params)
    store.submit(spec)
    store.cancel(spec.id)
    return spec


def courier(
    store: JobStore,
    deliveries: Deliveries,
    network: PinnedNetwork,
    blobs: BlobStore,
    allowed: Allowed = LIST,
    trust: ssl.SSLContext | None = None,
    patience: tuple[float, ...] = SOON,
) -> Courier:
    sender = Sender(network, trust, seconds=0.5)
    return Courier(store, deliveries, sender, Signer([SECRET]), allowed, blobs, patience)


@pytest.fixture
def run(
    store: JobStore, deliveries: Deliveries, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Receiver, Tap, Delivery]]:
    """Let a courier work on one job until `until` says that it is enough."""
    monkeypatch.setattr("api.webhooks.courier.LOOK_SECONDS", 0.02)

    def start(
        spec: JobSpec,
        *reactions: Reaction,
        resolve: Resolver | None = None,
        allowed: Allowed = LIST,
        until: Callable[[Delivery], bool] = lambda seen: seen.state is not DeliveryState.WAITING,
        tls: ssl.SSLContext | None = None,
        trust: ssl.SSLContext | None = None,
        patience: tuple[float, ...] = SOON,
    ) -> tuple[Receiver, Tap, Delivery]:
        async def work() -> tuple[Receiver, Tap, Delivery]:
            async with receiving(*reactions, tls=tls) as receiver:
                tap = Tap(receiver.port)
                network = PinnedNetwork(allowed, resolve or Resolver([PUBLIC]), tap)
                one = courier(store, deliveries, network, blobs, allowed, trust, patience)
                one.start()
                try:
                    return receiver, tap, await seen(until)
                finally:
                    await one.stop()

        async def seen(until: Callable[[Delivery], bool]) -> Delivery:
            async with asyncio.timeout(15):
                while True:
                    delivery = store.get(spec.id).webhook
                    assert delivery is not None
                    if until(delivery):
                        return delivery
                    await asyncio.sleep(0.02)

        return asyncio.run(work())

    return start


Run = Callable[..., tuple[Receiver, Tap, Delivery]]


# --- what is sent


def test_a_receiver_hears_of_the_end_signed_and_whole(run: Run, store: JobStore) -> None:
    spec = ended(store)

    receiver, tap, delivery = run(spec, says(OK))

    (heard,) = receiver.heard
    assert heard.line == "POST /x?token=t HTTP/1.1"
    assert heard.headers["host"] == "hooks.example"
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == f"job_{spec.id}_canceled"
    assert tap.dialled == [(PUBLIC, 80)]
    told = Webhook(SECRET).verify(heard.body, heard.headers)
    assert told["type"] == "job.canceled"
    assert told["timestamp"].endswith("Z")
    assert (told["data"]["id"], told["data"]["state"]) == (spec.id, "canceled")
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 1)


def test_a_changed_body_does_not_fit_its_signature(run: Run, store: JobStore) -> None:
    receiver, _, _ = run(ended(store), says(OK))

    (heard,) = receiver.heard
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(heard.body.replace("canceled", "succeeded"), heard.headers)


def test_a_webhook_speaks_the_language_of_its_job(run: Run, store: JobStore) -> None:
    spec = make_spec(webhook_url=HOOK).model_copy(update={"language": "zh"})
    store.submit(spec)
    store.cancel(spec.id)

    receiver, _, _ = run(spec, says(OK))

    assert json.loads(receiver.heard[0].body)["data"]["progress"]["message"] == "已取消"


def test_only_the_ends_that_were_asked_for_are_told(
    store: JobStore, deliveries: Deliveries
) -> None:
    unasked = ended(store, webhook_events="job.succeeded,job.failed")
    without = make_spec()
    store.submit(without)
    store.cancel(without.id)
    asked = ended(store, webhook_events="job.canceled")

    assert [due.job_id for due in deliveries.take(9, 60)] == [asked.id]
    assert store.get(unasked.id).webhook is None
    assert store.get(without.id).webhook is None


def test_a_running_job_is_not_told_of_before_its_end(
    store: JobStore, deliveries: Deliveries
) -> None:
    spec = make_spec(webhook_url=HOOK)
    store.submit(spec)
    held = claim(store)
    assert deliveries.take(9, 60) == []

    store.cancel(spec.id)
    assert deliveries.take(9, 60) == []
    store.fail(held, None, store.get(spec.id).timings)

    assert [due.job_id for due in deliveries.take(9, 60)] == [spec.id]


# --- when a receiver does not take it


def test_a_receiver_that_fails_is_tried_again_with_the_same_id(run: Run, store: JobStore) -> None:
    failing = says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    receiver, _, delivery = run(ended(store), failing, failing, says(OK))

    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 3)
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
    assert len({heard.body for heard in receiver.heard}) == 1


def test_a_receiver_that_always_fails_is_given_up_in_words(run: Run, store: JobStore) -> None:
    failing = says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    receiver, _, delivery = run(ended(store), failing, patience=SOON[:2])

    assert delivery == Delivery(state=DeliveryState.GIVEN_UP, attempts=3, reason="receiver_refuses")
    assert len(receiver.heard) == 3
    assert webhook_message("receiver_refuses", "zh")


@pytest.mark.parametrize(
    ("reaction", "reason"),
    [
        (hangs, "receiver_too_slow"),
        (drips, "receiver_too_slow"),
        (says(b""), "receiver_broke_off"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "receiver_broke_off"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000), "receiver_broke_off"),
        (
            says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"),
            "receiver_redirects",
        ),
        (says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "receiver_refuses"),
    ],
    ids=["hangs", "drips", "closes", "ssh", "headers-without-end", "redirects", "not-found"],
)
def test_what_a_bad_receiver_does_is_named_and_tried_again(
    run: Run, store: JobStore, reaction: Reaction, reason: str
) -> None:
    receiver, tap, delivery = run(
        ended(store), reaction, until=lambda seen: seen.reason is not None, patience=(60.0,)
    )

    assert (delivery.state, delivery.reason) == (DeliveryState.WAITING, reason)
    assert webhook_message(reason, "en")
    assert {address for address, _ in tap.dialled} == {PUBLIC}
    assert len(receiver.heard) == 1


def test_an_answer_of_ten_gigabytes_is_not_read(run: Run, store: JobStore) -> None:
    sent = 0

    async def floods(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
        while sent < 10 * 2**30:
            writer.write(bytes(2**16))
            sent += 2**16
            await writer.drain()

    _, _, delivery = run(ended(store), floods)

    assert delivery.state is DeliveryState.DELIVERED
    assert sent < 32 * 2**20  # what the kernel's buffers took


def test_a_receiver_that_is_gone_is_never_tried_again(run: Run, store: JobStore) -> None:
    _, _, delivery = run(ended(store), says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"))

    assert delivery == Delivery(state=DeliveryState.GIVEN_UP, attempts=1, reason="receiver_gone")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(b"120", 120.0), (b"999999999999", 3600.0), (b"-5", 0.0), (b"soon", 0.0), (b"\xb2", 0.0)],
)
def test_a_receiver_may_say_when_within_an_hour(header: bytes, seconds: float) -> None:
    assert judge(429, {b"Retry-After": header}).wait_seconds == seconds


# --- what survives


def test_a_webhook_waits_through_the_end_of_its_gateway(
    run: Run, store: JobStore, deliveries: Deliveries
) -> None:
    # Given a gateway that took a webhook and died with it
    spec = ended(store)
    (taken,) = deliveries.take(9, lease_seconds=0.3)
    assert taken == Due(spec.id, 1)
    assert deliveries.take(9, 60) == []  # nobody else sends it meanwhile

    # When another looks later
    receiver, _, delivery = run(spec, says(OK))

    # Then it arrives
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
    assert len(receiver.heard) == 1


def test_a_picture_under_way_belongs_to_its_gateway_for_longer(
    store: JobStore, deliveries: Deliveries
) -> None:
    spec = ended(store)
    (first,) = deliveries.take(9, lease_seconds=0)
    deliveries.extend(first, 60)
    assert deliveries.take(9, 60) == []

    # An attempt that another one has overtaken keeps nothing.
    deliveries.put_off(first, "receiver_refuses", 0)
    (second,) = deliveries.take(9, lease_seconds=0)
    deliveries.extend(first, 60)
    assert deliveries.take(9, 60) == [Due(spec.id, second.attempt + 1)]


def test_a_late_answer_of_an_overtaken_try_changes_nothing(
    store: JobStore, deliveries: Deliveries
) -> None:
    spec = ended(store)
    (first,) = deliveries.take(9, lease_seconds=0)
    (second,) = deliveries.take(9, lease_seconds=60)

    deliveries.give_up(first, "receiver_refuses")
    assert store.get(spec.id).webhook == Delivery(state=DeliveryState.WAITING, attempts=2)

    deliveries.delivered(second)
    assert store.get(spec.id).webhook == Delivery(state=DeliveryState.DELIVERED, attempts=2)
    assert deliveries.take(9, 60) == []


def test_the_webhook_of_a_forgotten_job_is_forgotten(
    store: JobStore, deliveries: Deliveries, redis_client: redis.Redis
) -> None:
    spec = ended(store)
    redis_client.delete(f"job:{spec.id}")

    assert deliveries.take(9, 60) == []
    assert redis_client.exists("webhooks") == 0


def test_an_end_by_any_way_is_told(store: JobStore, deliveries: Deliveries) -> None:
    spec = make_spec(webhook_url=HOOK)
    store.submit(spec)
    for _ in range(3):
        claim(store)
        store.reap_worker("host-1-cpu-0001")

    assert store.get(spec.id).state is JobState.FAILED
    assert [due.job_id for due in deliveries.take(9, 60)] == [spec.id]


# --- where it goes


def test_a_name_that_leads_inside_is_not_dialled(run: Run, store: JobStore) -> None:
    spec = ended(store, "https://hooks.evil/")
    for answer in (["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["fe80::1%eth0"], ["::ffff:127.0.0.1"]):
        _, tap, delivery = run(
            spec,
            says(OK),
            resolve=Resolver(answer),
            allowed=Allowed(()),
            until=lambda seen: seen.reason is not None,
        )
        assert delivery.reason == "address_refused"
        assert tap.dialled == []


def test_a_resolver_that_changes_its_mind_is_asked_once_and_held_to_it(
    run: Run, store: JobStore
) -> None:
    # Given a name that is outside when it is checked and inside from then on
    resolver = Resolver([PUBLIC], ["127.0.0.1"])

    # When a first try fails (this receiver speaks no TLS) and a second one follows
    _, tap, delivery = run(
        ended(store, "https://rebind.evil/"),
        says(OK),
        resolve=resolver,
        allowed=Allowed(()),
        until=lambda seen: seen.reason == "address_refused",
    )

    # Then the first dialled what was checked, and the second nothing
    assert tap.dialled == [(PUBLIC, 443)]
    assert len(resolver.asked) >= 2
    assert delivery.state is DeliveryState.WAITING


def test_a_name_without_an_address_is_tried_again(run: Run, store: JobStore) -> None:
    _, _, delivery = run(
        ended(store), says(OK), resolve=Resolver([]), until=lambda seen: seen.reason is not None
    )

    assert delivery.reason == "receiver_unreachable"


def test_an_address_that_was_allowed_once_is_refused_when_the_list_has_changed(
    run: Run, store: JobStore
) -> None:
    _, tap, delivery = run(ended(store, "http://127.0.0.1:9/"), says(OK), allowed=Allowed(()))

    assert (delivery.state, delivery.reason) == (DeliveryState.GIVEN_UP, "address_refused")
    assert tap.dialled == []


def serving(folder: Path, authority: Authority, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.serve(folder, name))
    return context


def test_tls_verifies_the_name_though_the_address_is_dialled(
    run: Run, store: JobStore, tmp_path: Path
) -> None:
    authority, asked = Authority(), []
    trust = ssl.create_default_context(cadata=cert_pem(authority.cert).decode())
    for name, state in (
        ("hooks.good", DeliveryState.DELIVERED),
        ("hooks.good", DeliveryState.DELIVERED),
        ("other.name", DeliveryState.WAITING),
    ):
        server = serving(tmp_path, authority, name)
        server.sni_callback = lambda _socket, name, _context: asked.append(name)

        _, tap, delivery = run(
            ended(store, "https://hooks.good/"),
            says(OK),
            tls=server,
            trust=trust,
            allowed=Allowed(()),
            until=lambda seen: seen.attempts > 0 and (seen.reason or seen.state == "delivered"),
            patience=(60.0,),
        )

        assert delivery.state is state
        assert tap.dialled == [(PUBLIC, 443)]
    assert delivery.reason == "receiver_certificate"
    assert set(asked) == {"hooks.good"}


# --- secrets


def test_a_drawn_secret_is_kept_for_the_owner_alone_and_used_again(settings: Settings) -> None:
    def signature() -> str:
        return make_signer(settings).headers("id", "{}", datetime.now(UTC))["webhook-signature"]

    first = signature()

    (path,) = settings.data_dir.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith("whsec_")
    assert signature() == first


def test_two_secrets_sign_side_by_side(make_settings: Callable[..., Settings]) -> None:
    other = "whsec_" + "A" * 44
    signer = make_signer(make_settings(webhook_secret=f"{SECRET} {other}"))

    headers = signer.headers("id", "{}", datetime.now(UTC))

    for secret in (SECRET, other):
        assert Webhook(secret).verify("{}", headers) == {}


@pytest.mark.parametrize("text", ["guessable", "whsec_", "whsec_QQ==", "whsec_***", "QUJD" * 10])
def test_a_secret_that_cannot_be_used_stops_the_start_unshown(
    make_settings: Callable[..., Settings], text: str
) -> None:
    with pytest.raises(BadSettings, match="RETOUCH_WEBHOOK_SECRET: secret number 2") as raised:
        make_signer(make_settings(webhook_secret=f"{SECRET} {text}"))

    assert text not in str(raised.value).replace("whsec_ and", "")
    assert SECRET not in str(raised.value)


# --- where a result is sent

BUCKET = "http://hooks.example/bucket/a.png?X-Amz-Signature=s"


def done(store: JobStore, blobs: BlobStore, **params: object) -> tuple[JobSpec, bytes]:
    spec = make_spec(result_url=BUCKET, **params)
    store.submit(spec)
    return spec, finish(store, blobs, claim(store))


def test_a_result_is_put_where_the_job_says_before_the_message_is_sent(
    run: Run, store: JobStore, blobs: BlobStore
) -> None:
    spec, picture = done(store, blobs, webhook_url=HOOK)

    receiver, _, delivery = run(spec, says(OK))

    put, message = receiver.heard
    assert put.line == "PUT /bucket/a.png?X-Amz-Signature=s HTTP/1.1"
    assert put.headers["content-type"] == "image/png"
    assert put.body.encode(errors="surrogateescape") == picture
    assert message.line.startswith("POST /x")
    assert delivery.state is DeliveryState.DELIVERED


def test_a_result_alone_needs_no_message_and_is_sent_again_until_it_is_taken(
    run: Run, store: JobStore, blobs: BlobStore
) -> None:
    spec, _ = done(store, blobs)

    receiver, _, delivery = run(
        spec, says(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), says(OK)
    )

    assert [heard.line.split()[0] for heard in receiver.heard] == ["PUT", "PUT"]
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)


def test_a_result_goes_to_no_address_inside_the_network(
    run: Run, store: JobStore, blobs: BlobStore
) -> None:
    spec, _ = done(store, blobs)

    receiver, tap, delivery = run(spec, says(OK), allowed=Allowed([]))

    assert (receiver.heard, tap.dialled) == ([], [])
    assert (delivery.state, delivery.reason) == (DeliveryState.GIVEN_UP, "address_refused")


def test_a_result_that_expired_before_it_could_be_sent_is_given_up_in_words(
    run: Run, store: JobStore, blobs: BlobStore
) -> None:
    spec, _ = done(store, blobs)
    blobs.delete(f"results/{spec.id}")

    receiver, _, delivery = run(spec, says(OK))

    assert (receiver.heard, delivery.reason) == ([], "result_expired")
    assert webhook_message("result_expired", "zh")
