"""How much one key, and everybody together, may have: each refusal says when to come again."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis
from httpx2 import Response
from starlette.testclient import WebSocketDenialResponse

from api.access.keys import Keyring
from api.access.places import Places
from api.access.rate import RateLimit, read_rate
from api.jobs.follow import Followers, Start
from api.routes.events import EventStream
from api.wire.sentence import Sentence
from shared.blobs import open_blobs
from shared.errors import Overloaded, RateLimited
from shared.ledger.store import JobStore
from shared.settings import BadSettings, Settings
from tests.support.fleet import claim, finish
from tests.support.jobs import make_spec
from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

KEYS = "ada=key-of-ada,bob=key-of-bob:jobs=1,cal=key-of-cal:submit+read+rate=1/minute+jobs=0"
SEATS = Sentence("seats", "座位")


def key(name: str) -> dict[str, str]:
    return {"X-API-Key": f"key-of-{name}"}


def check(response: Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert int(response.headers["retry-after"]) > 0


# --- what a key says of itself


@pytest.mark.parametrize(
    ("words", "scopes", "jobs", "amount"),
    [
        ("rate=5/minute", {"submit", "read"}, None, 5),
        ("jobs=4", {"submit", "read"}, 4, None),
        ("read+rate=1/hour+jobs=0", {"read"}, 0, 1),
    ],
)
def test_a_key_carries_its_own_limits(
    words: str, scopes: set[str], jobs: int | None, amount: int | None
) -> None:
    caller = Keyring([f"a=secret:{words}"]).find(b"secret")

    assert caller is not None
    assert caller.scopes == scopes
    assert caller.jobs == jobs
    writes = caller.rate.writes if caller.rate else None
    assert (writes.amount if writes else None) == amount


@pytest.mark.parametrize("words", ["jobs=", "jobs=-1", "jobs=x", "rate=often", "size=4", "jobs=²"])
def test_limits_that_cannot_be_read_stop_the_start(words: str) -> None:
    with pytest.raises(BadSettings, match="RETOUCH_API_KEYS: key number 1") as raised:
        Keyring([f"a=secret:{words}"])

    assert "secret" not in str(raised.value)


# --- requests


def test_counting_imports_one_library_of_the_store_alone(settings: Settings) -> None:
    limit = RateLimit(read_rate("9/minute"), settings)
    assert set(limit._window.storage.dependencies) == {"redis"}


def test_a_key_s_own_rate_goes_before_the_deployment_s(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS)

    assert submit(client, key("cal")).status_code == 202
    check(submit(client, key("cal")), 429, "rate_limited")
    assert submit(client, key("ada")).status_code == 202


def test_whoever_tries_keys_out_is_slowed_down(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS, rate_limit="1/minute")

    answers = [
        client.get("/v1/loras", headers={"X-API-Key": f"guess-{number}"}) for number in range(11)
    ]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    check(answers[-1], 429, "rate_limited")
    assert client.get("/v1/loras", headers=key("ada")).status_code == 200


def test_whoever_tries_passwords_out_is_slowed_down_too(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS, rate_limit="1/minute")

    answers = [client.get("/sdapi/v1/options", auth=("x", f"guess-{n}")) for n in range(11)]

    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert answers[-1].json()["error"] == "rate_limited"


def test_event_streams_count_as_requests(gateway: Gateway) -> None:
    client = gateway(rate_limit="1/minute")
    path = f"/v1/jobs/{'0' * 32}/events"

    assert [client.get(path).status_code for _ in range(11)] == [404] * 10 + [429]


# --- jobs in flight


def test_a_key_has_so_many_jobs_in_hand_and_no_more(gateway: Gateway) -> None:
    # Given a key that may have one job, and has it
    client = gateway(api_keys=KEYS)
    job = submit(client, key("bob")).json()

    # Then a second one waits until the first has ended, by whatever way
    check(submit(client, key("bob")), 429, "rate_limited")
    assert submit(client, key("ada")).status_code == 202
    assert client.delete(job["links"]["self"], headers=key("bob")).status_code == 200
    assert submit(client, key("bob")).status_code == 202
    check(submit(client, key("bob")), 429, "rate_limited")


def test_the_limit_of_jobs_holds_against_a_race(store: JobStore) -> None:
    store.submit(make_spec("ada"), most_live=1)

    with pytest.raises(RateLimited):
        store.submit(make_spec("ada"), most_live=1)
    store.submit(make_spec("bob"), most_live=1)


def test_a_running_job_counts_and_a_forgotten_one_does_not(
    gateway: Gateway, store: JobStore, redis_client: redis.Redis
) -> None:
    client = gateway(api_keys=KEYS)
    job = submit(client, key("bob")).json()
    claim(store)
    check(submit(client, key("bob")), 429, "rate_limited")

    redis_client.delete(f"job:{job['id']}")

    assert submit(client, key("bob")).status_code == 202


def test_the_deployment_s_limit_of_jobs_is_for_keys_without_their_own(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS, jobs_per_key=1, allow_anonymous=True)

    for caller, statuses in (("ada", [202, 429]), ("bob", [202, 429])):
        assert [submit(client, key(caller)).status_code for _ in range(2)] == statuses
    assert [submit(client).status_code for _ in range(3)] == [202] * 3


# --- what is kept


def test_a_key_keeps_so_many_bytes_and_no_more(
    gateway: Gateway, store: JobStore, settings: Settings
) -> None:
    # Given a key that may keep hardly more than what it has uploaded
    picture = {"image": ("p.jpg", photo())}
    sent = gateway(api_keys=KEYS).post("/v1/images", files=picture, headers=key("ada"))
    assert sent.status_code == 201
    uploaded = store.kept_bytes("ada")
    assert uploaded > 0
    client = gateway(api_keys=KEYS, bytes_per_key=uploaded + 1)

    # When the same picture comes again, then nothing more is kept
    assert client.post("/v1/images", files=picture, headers=key("ada")).status_code == 201
    assert store.kept_bytes("ada") == uploaded

    # And when a job has made its picture, no more is taken; from others it is
    assert submit(client, key("ada")).status_code == 202
    made = finish(store, open_blobs(settings), claim(store))
    assert store.kept_bytes("ada") == uploaded + len(made)
    check(client.post("/v1/images", files=picture, headers=key("ada")), 503, "storage_full")
    check(submit(client, key("ada")), 503, "storage_full")
    assert submit(client, key("bob")).status_code == 202


def test_what_is_kept_is_forgotten_with_the_pictures(
    make_settings: Callable[..., Settings], redis_client: redis.Redis
) -> None:
    settings = make_settings(result_ttl_seconds=24)
    store = JobStore(redis_client, settings)

    assert store.kept_bytes("ada", 100) == 100
    assert store.kept_bytes("ada", 20) == 120
    lives = [redis_client.ttl(name) for name in redis_client.keys("client:ada:kept:*")]
    assert all(0 < life <= 25 for life in lives)


# --- places


def test_places_are_for_one_caller_and_for_all() -> None:
    places = Places(in_all=3, each=2, what=SEATS)
    with places.take("ada"), places.take("ada"):
        with pytest.raises(RateLimited, match="2 seats"):
            places.take("ada")
        with places.take("bob"), pytest.raises(Overloaded) as refused:
            places.take("cal")
        assert "座位" in refused.value.args[0].zh
        places.take("bob").leave()
    places.take("ada").leave()


def test_a_place_that_is_left_twice_is_free_once() -> None:
    places = Places(in_all=2, each=2, what=SEATS)
    with places.take("ada") as first:
        first.leave()
        places.take("ada")
        first.leave()
        places.take("bob")
        with pytest.raises(Overloaded):
            places.take("cal")


def test_callers_without_a_key_share_the_common_places() -> None:
    places = Places(in_all=3, each=1, what=SEATS)
    with places.take("anonymous"), places.take("anonymous"):
        places.take("anonymous").leave()


def test_uploads_at_a_time_are_limited(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS, uploads_limit=1)
    services = client.app.state.services  # type: ignore[attr-defined]
    with services.uploads.take("bob"):
        check(submit(client, key("ada")), 503, "overloaded")
    assert submit(client, key("ada")).status_code == 202


def test_followers_are_limited_and_their_places_freed(gateway: Gateway) -> None:
    one = gateway(api_keys=KEYS, followers_limit=2, followers_per_key=1)
    services = one.app.state.services  # type: ignore[attr-defined]
    job = submit(one, key("ada")).json()
    places = services.followers._places

    with places.take("ada"):
        check(one.get(job["links"]["events"], headers=key("ada")), 429, "rate_limited")
        with places.take("bob"):
            check(one.get(job["links"]["events"], headers=key("ada")), 503, "overloaded")
            waited = submit(one, key("ada") | {"Prefer": "wait=30"})
            assert waited.status_code == 202  # it does not wait, and the job is taken
    one.delete(job["links"]["self"], headers=key("ada"))
    for _ in range(3):
        assert one.get(job["links"]["events"], headers=key("ada")).status_code == 200


def test_a_follower_that_leaves_early_frees_its_place(settings: Settings, store: JobStore) -> None:
    spec = make_spec("ada")
    store.submit(spec)
    places = Places(in_all=1, each=1, what=SEATS)

    async def come_and_go() -> None:
        followers = Followers(settings, store, threading.Event(), places)
        try:
            for _ in range(3):
                start = await followers.start("ada", spec.id, None)
                stream = followers.follow(start)
                await anext(stream)
                with pytest.raises((RateLimited, Overloaded)):
                    await followers.start("ada", spec.id, None)
                await stream.aclose()  # type: ignore[attr-defined]
        finally:
            await followers.close()

    asyncio.run(come_and_go())


def test_followers_who_come_at_once_get_no_more_places_than_there_are(
    settings: Settings, store: JobStore
) -> None:
    spec = make_spec("ada")
    store.submit(spec)
    places = Places(in_all=10, each=1, what=SEATS)

    async def come_together() -> list[object]:
        followers = Followers(settings, store, threading.Event(), places)
        try:
            coming = [followers.start("ada", spec.id, None) for _ in range(5)]
            return list(await asyncio.gather(*coming, return_exceptions=True))
        finally:
            await followers.close()

    came = asyncio.run(come_together())
    assert sum(isinstance(one, Start) for one in came) == 1
    assert sum(isinstance(one, RateLimited) for one in came) == 4


def test_a_follower_who_goes_before_the_first_event_frees_its_place(
    gateway: Gateway,
) -> None:
    client = gateway(api_keys=KEYS, followers_per_key=1)
    services = client.app.state.services  # type: ignore[attr-defined]
    job = submit(client, key("ada")).json()

    async def come_and_vanish() -> None:
        start = await services.followers.start("ada", job["id"], None)
        stream = EventStream(services, start, "en")

        async def gone(_: object) -> None:
            raise OSError("the connection is gone")

        with suppress(BaseException):
            await stream({"type": "http", "asgi": {"spec_version": "2.4"}}, gone, gone)  # type: ignore[arg-type]
        services.followers._places.take("ada").leave()

    assert client.portal is not None
    client.portal.call(come_and_vanish)


@pytest.mark.parametrize("place", ["events", "socket"])
def test_another_s_job_and_no_job_are_refused_alike_however_full_it_is(
    gateway: Gateway, place: str
) -> None:
    client = gateway(api_keys=KEYS, followers_limit=1, followers_per_key=1)
    services = client.app.state.services  # type: ignore[attr-defined]
    job = submit(client, key("ada")).json()

    def ask(job_id: str) -> tuple[int, str]:
        path = f"/v1/jobs/{job_id}/{place}"
        if place == "events":
            answer = client.get(path, headers=key("bob"))
            return answer.status_code, answer.text.replace(job_id, "")
        with pytest.raises(WebSocketDenialResponse) as denied:
            client.websocket_connect(path, headers=key("bob")).__enter__()
        return denied.value.status_code, denied.value.text.replace(job_id, "")

    with services.followers._places.take("ada"):
        foreign, unknown = ask(job["id"]), ask("0" * 32)
    assert foreign == unknown
    assert foreign[0] == 404
