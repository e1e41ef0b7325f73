"""Who may do what: keys, scopes, other people's jobs, tickets, rates, origins."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from api.__main__ import refuse_open_door
from api.access.keys import Keyring, Scope
from shared.settings import BadSettings, Settings
from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

ADA, BOB = "key-of-ada", "key-of-bob=="
KEYS = f"ada={ADA},bob={BOB}:read+submit,reader=only-reads:read,boss=sha256:" + (
    sha256(b"key-of-boss").hexdigest() + ":admin"
)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def guarded(gateway: Gateway) -> TestClient:
    return gateway(api_keys=KEYS)


# --- the grammar of RETOUCH_API_KEYS


@pytest.mark.parametrize(
    ("text", "key", "name", "scopes"),
    [
        ("secret", "secret", None, {"submit", "read"}),
        ("ada=secret", "secret", "ada", {"submit", "read"}),
        ("ada=secret:read", "secret", "ada", {"read"}),
        ("secret:read+submit", "secret", None, {"submit", "read"}),
        ("a=se:cret:admin", "se:cret", "a", {"submit", "read", "metrics", "admin"}),
        ("c2VjcmV0==", "c2VjcmV0==", None, {"submit", "read"}),
        ("a=c2VjcmV0==", "c2VjcmV0==", "a", {"submit", "read"}),
        (f"a=sha256:{sha256(b'x').hexdigest()}", "x", "a", {"submit", "read"}),
        (f"sha256:{sha256(b'x').hexdigest()}:read", "x", None, {"read"}),
        ("schlüssel", "schlüssel", None, {"submit", "read"}),
    ],
)
def test_keys_are_read(text: str, key: str, name: str | None, scopes: set[str]) -> None:
    caller = Keyring(["other", text]).find(key.encode())

    assert caller is not None
    assert caller.scopes == {Scope(scope) for scope in scopes}
    assert name is None or caller.name == name
    assert Keyring([text]).find(b"wrong") is None


@pytest.mark.parametrize(
    "text",
    ["a=secret:write", "secret:", "sha256:abc", "anonymous=secret", ":read", "sha256:zz:read"],
)
def test_unreadable_keys_stop_the_start_without_being_shown(text: str) -> None:
    with pytest.raises(BadSettings, match="RETOUCH_API_KEYS: key number 2") as raised:
        Keyring(["good-one", text])

    assert "secret" not in str(raised.value)


# --- keys


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(""),
        {"Authorization": ADA},
        {"Authorization": f"Basic {ADA}"},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "schlüssel".encode().decode("latin-1")},
        {"Authorization": b"Bearer \xff\xfe\x00".replace(b"\x00", b"").decode("latin-1")},
    ],
)
def test_no_key_and_wrong_keys_are_unauthenticated(
    guarded: TestClient, headers: dict[str, str]
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}

    for method, path in (
        ("GET", "/v1/loras"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/" + "0" * 32),
    ):
        response = guarded.request(method, path, headers=encoded)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers", [bearer(ADA), {"X-API-Key": ADA}, {"Authorization": f"bearer {ADA}"}]
)
def test_a_key_is_taken_from_either_header(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.get("/v1/loras", headers=headers).status_code == 200


def test_without_keys_everyone_is_anonymous(client: TestClient) -> None:
    assert client.get("/v1/loras", headers=bearer("whatever")).status_code == 200


def test_anonymous_callers_beside_keys_need_permission(gateway: Gateway) -> None:
    client = gateway(api_keys=KEYS, allow_anonymous=True)

    assert client.get("/v1/loras").status_code == 200
    assert client.get("/v1/loras", headers=bearer("wrong")).status_code == 401
    assert client.get("/metrics").status_code == 403


def test_a_scope_that_is_missing_is_forbidden(guarded: TestClient) -> None:
    response = submit(guarded, bearer("only-reads"))

    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert guarded.get("/metrics", headers=bearer(ADA)).status_code == 403
    assert guarded.get("/metrics", headers=bearer("key-of-boss")).status_code == 200


def test_another_s_job_cannot_be_told_from_an_unknown_one(guarded: TestClient) -> None:
    # Given a job of Ada's
    job = submit(guarded, bearer(ADA)).json()
    unknown = "0" * 32

    # Then to Bob every address of it answers as for a job that never was
    for tail in ("", "/image", "/preview", "/source", "/events"):
        theirs = guarded.get(f"/v1/jobs/{job['id']}{tail}", headers=bearer(BOB))
        none = guarded.get(f"/v1/jobs/{unknown}{tail}", headers=bearer(BOB))
        assert theirs.status_code == none.status_code == 404
        assert theirs.text.replace(job["id"], unknown) == none.text
        assert set(theirs.headers) == set(none.headers)
    assert guarded.delete(f"/v1/jobs/{job['id']}", headers=bearer(BOB)).status_code == 404
    assert guarded.post(f"/v1/jobs/{job['id']}/ticket", headers=bearer(BOB)).status_code == 404
    assert guarded.get(job["links"]["self"], headers=bearer(ADA)).json()["state"] == "queued"


def test_another_s_upload_is_not_found(guarded: TestClient) -> None:
    image = guarded.post(
        "/v1/images", files={"image": ("p.jpg", photo())}, headers=bearer(ADA)
    ).json()

    assert guarded.head(f"/v1/images/{image['id']}", headers=bearer(ADA)).status_code == 200
    assert guarded.head(f"/v1/images/{image['id']}", headers=bearer(BOB)).status_code == 404


def test_everyone_lists_their_own_jobs(guarded: TestClient) -> None:
    mine = submit(guarded, bearer(ADA)).json()["id"]
    submit(guarded, bearer(BOB))

    items = guarded.get("/v1/jobs", headers=bearer(ADA)).json()["items"]

    assert [job["id"] for job in items] == [mine]


def test_anonymous_jobs_are_listed_only_when_allowed(gateway: Gateway) -> None:
    assert gateway().get("/v1/jobs").status_code == 401
    assert gateway(allow_anonymous=True).get("/v1/jobs").status_code == 200


def test_one_idempotency_key_of_two_callers_makes_two_jobs(guarded: TestClient) -> None:
    ids = {
        submit(guarded, bearer(key) | {"Idempotency-Key": "same"}).json()["id"]
        for key in (ADA, BOB)
    }

    assert len(ids) == 2


# --- tickets


def test_a_ticket_opens_one_job_s_events_and_nothing_else(guarded: TestClient) -> None:
    # Given a finished job and a ticket for it
    job = submit(guarded, bearer(ADA)).json()
    other = submit(guarded, bearer(ADA)).json()
    guarded.delete(job["links"]["self"], headers=bearer(ADA))
    answer = guarded.post(f"{job['links']['self']}/ticket", headers=bearer(ADA))
    assert answer.status_code == 201
    ticket = {"ticket": answer.json()["ticket"]}

    # Then it opens that stream and that socket
    assert "canceled" in guarded.get(job["links"]["events"], params=ticket).text
    with guarded.websocket_connect(f"{job['links']['socket']}?ticket={ticket['ticket']}") as socket:
        assert socket.receive_json()["data"]["state"] == "canceled"

    # And nothing else
    assert guarded.get(other["links"]["events"], params=ticket).status_code == 401
    assert guarded.get(job["links"]["self"], params=ticket).status_code == 401
    assert guarded.get(job["links"]["events"], params={"ticket": "made-up"}).status_code == 401


def test_a_ticket_is_not_written_to_the_log(
    guarded: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    job = submit(guarded, bearer(ADA)).json()
    ticket = guarded.post(f"{job['links']['self']}/ticket", headers=bearer(ADA)).json()["ticket"]
    guarded.delete(job["links"]["self"], headers=bearer(ADA))
    guarded.get(job["links"]["events"], params={"ticket": ticket})

    written = "".join(capfd.readouterr())
    assert "/events" in written
    assert ticket not in written
    assert ADA not in written


# --- rates


def test_more_than_the_rate_is_refused_with_the_wait(gateway: Gateway) -> None:
    client = gateway(rate_limit="2/minute", api_keys=KEYS)
    for _ in range(2):
        assert submit(client, bearer(ADA)).status_code == 202

    refused = submit(client, bearer(ADA))

    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert submit(client, bearer(BOB)).status_code == 202
    assert client.get("/v1/loras", headers=bearer(ADA)).status_code == 200


def test_reading_has_a_rate_too(gateway: Gateway) -> None:
    client = gateway(rate_limit="1/minute")

    answers = [client.get("/v1/loras").status_code for _ in range(11)]

    assert answers == [200] * 10 + [429]


def test_a_rate_that_cannot_be_read_stops_the_start(gateway: Gateway) -> None:
    with pytest.raises(BadSettings, match="RETOUCH_RATE_LIMIT"):
        gateway(rate_limit="often")


# --- other origins


def test_a_foreign_page_may_not_act_here(gateway: Gateway) -> None:
    client = gateway(cors_origins="https://photos.example, https://other.example/")
    evil, friend = {"Origin": "https://evil.example"}, {"Origin": "https://photos.example"}

    refused = submit(client, evil)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in refused.headers
    welcome = submit(client, friend)
    assert welcome.status_code == 202
    assert welcome.headers["access-control-allow-origin"] == "https://photos.example"
    assert submit(client, {"Origin": "http://127.0.0.1"}).status_code == 202


def test_a_foreign_name_that_leads_here_is_foreign(gateway: Gateway) -> None:
    # Given a page of evil.example, whose name now resolves to this machine
    rebound = {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"}

    # Then it may do nothing where nobody needs a key, and needs one elsewhere
    assert submit(gateway(), rebound).status_code == 403
    assert submit(gateway(api_keys=KEYS), rebound).status_code == 401
    # And a proxy's name works once it is listed
    listed = gateway(cors_origins="http://evil.example:8000")
    assert submit(listed, rebound).status_code == 202
    here = {"Origin": "http://localhost:8000", "Host": "localhost:8000"}
    assert submit(gateway(), here).status_code == 202


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://[", "http://"],
)
def test_a_foreign_page_may_not_open_a_socket(client: TestClient, origin: str) -> None:
    job = submit(client).json()

    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(job["links"]["socket"], headers={"Origin": origin}),
    ):
        pass

    assert denied.value.status_code == 403
    assert denied.value.json()["code"] == "forbidden"


def test_a_preflight_is_answered_for_listed_origins_only(gateway: Gateway) -> None:
    client = gateway(cors_origins="https://photos.example")
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}

    assert client.options("/v1/jobs", headers={"Origin": "https://photos.example"} | ask).is_success
    refused = client.options("/v1/jobs", headers={"Origin": "https://evil.example"} | ask)
    assert "access-control-allow-origin" not in refused.headers


# --- where it listens


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "photos.example"])
def test_other_addresses_need_keys_or_permission(
    make_settings: Callable[..., Settings], host: str
) -> None:
    with pytest.raises(BadSettings, match="RETOUCH_API_KEYS"):
        refuse_open_door(make_settings(host=host))
    refuse_open_door(make_settings(host=host, api_keys="secret"))
    refuse_open_door(make_settings(host=host, allow_anonymous=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_neither(
    make_settings: Callable[..., Settings], host: str
) -> None:
    refuse_open_door(make_settings(host=host))


# --- headers


def test_pages_allow_no_inline_script_and_no_other_host(client: TestClient) -> None:
    for path in ("/", "/docs", "/problems/queue_full"):
        response = client.get(path)
        policy = response.headers["content-security-policy"]
        assert response.status_code == 200
        assert "unsafe-inline" not in policy
        assert "http" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "<script>" not in response.text
        assert "style=" not in response.text
        assert "://" not in response.text.replace("http://www.w3.org", "")


def test_the_page_s_files_name_no_other_host(client: TestClient) -> None:
    for name in ("page.js", "page.css", "docs.js"):
        response = client.get(f"/static/{name}")
        assert response.status_code == 200
        assert "://" not in response.text
