"""Names, paths, senders and ids of requests, as a proxy hands them on."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse

from api.access.keys import ANONYMOUS, DEFAULT_SCOPES, Caller
from api.app import create_app
from api.server.listening import make_server
from shared.log import configure_logging
from shared.settings import BadSettings, Settings, load_settings
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

PUBLIC = "https://photos.example.org/retouch/"
FOREIGN = {"Host": "evil.example"}


# --- names


def test_a_foreign_name_reads_nothing_where_nobody_needs_a_key(gateway: Gateway) -> None:
    for client in (gateway(), gateway(host="0.0.0.0", allow_anonymous=True)):
        for path in ("/", "/v1/loras", "/openapi.json", "/mcp", "/static/page.css"):
            refused = client.get(path, headers=FOREIGN)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "RETOUCH_PUBLIC_URL=https://evil.example" in refused.json()["detail"]
            assert refused.headers["X-Content-Type-Options"] == "nosniff"
        assert client.get("/healthz", headers=FOREIGN).status_code == 200


def test_a_foreign_name_opens_no_socket(client: TestClient) -> None:
    link = submit(client).json()["links"]["socket"]

    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(link, headers=FOREIGN),
    ):
        pass

    assert denied.value.status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1:8000",
            "192.168.1.5:8000",
            "[::1]:8000",
            "localhost:8000",
            "api:8000",
            "gpu-box",
        ),
        *(
            "gpu-box.local",
            "gpu-box.lan",
            "retouch.default.svc.cluster.local",
            "host.docker.internal:8000",
        ),
    ],
)
def test_addresses_and_names_of_private_networks_are_answered(
    client: TestClient, host: str
) -> None:
    assert client.get("/v1/loras", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["photos.example.org", "PHOTOS.example.org:443", "b.example:8443"])
def test_public_names_are_answered_and_their_pages_may_act(gateway: Gateway, host: str) -> None:
    client = gateway(public_url=f"{PUBLIC}, https://b.example:8443")
    origin = "https://b.example:8443" if host.startswith("b.") else "https://photos.example.org"

    assert client.get("/", headers={"Host": host}).status_code == 200
    # Also where the proxy puts its own name for the gateway in the place of the public one
    for sent in (host, "127.0.0.1:8000"):
        assert submit(client, {"Host": sent, "Origin": origin}).status_code == 202


def test_with_keys_any_name_is_answered(gateway: Gateway) -> None:
    client = gateway(api_keys="secret")
    assert client.get("/v1/loras", headers=FOREIGN).status_code == 401
    assert client.get("/v1/loras", headers={**FOREIGN, "X-API-Key": "secret"}).status_code == 200


def test_the_refusal_of_a_page_names_both_settings(client: TestClient) -> None:
    refused = submit(client, {"Origin": "https://photos.example.org"})

    assert "RETOUCH_PUBLIC_URL=https://photos.example.org" in refused.json()["detail"]
    assert "RETOUCH_CORS_ORIGINS=https://photos.example.org" in refused.json()["detail"]


# --- paths


@pytest.mark.parametrize("before", ["", "/retouch"])
def test_addresses_begin_with_the_public_path_whether_the_proxy_takes_it_away_or_not(
    gateway: Gateway, before: str
) -> None:
    client = gateway(public_url=PUBLIC)
    job = client.get(f"{before}{submit(client).headers['Location'].removeprefix('/retouch')}")

    assert job.json()["links"]["image"].startswith("/retouch/v1/jobs/")
    assert client.get(f"{before}/nothing").json()["type"] == "/retouch/problems/not_found"
    assert client.get(f"{before}/openapi.json").json()["servers"] == [{"url": PUBLIC[:-1]}]
    assert client.get(f"{before}/static/page.css").status_code == 200


def test_without_a_public_url_nothing_stands_before_an_address(client: TestClient) -> None:
    assert submit(client).headers["Location"].startswith("/v1/jobs/")
    assert "servers" not in client.get("/openapi.json").json()


def test_a_path_that_only_looks_like_the_public_one_is_another(gateway: Gateway) -> None:
    assert gateway(public_url=PUBLIC).get("/retouchme").status_code == 404


@pytest.mark.parametrize(
    "value", ["photos.example.org", "//photos.example.org", "ftp://x", "https://", "https://x/?a=b"]
)
def test_a_public_url_that_is_none_stops_the_start_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RETOUCH_PUBLIC_URL", value)

    with pytest.raises(BadSettings, match=r"RETOUCH_PUBLIC_URL: .*must begin with https://"):
        load_settings(_env_file=None)


# --- senders


@pytest.fixture
def statuses(make_settings: Callable[..., Settings]) -> Callable[..., list[int]]:
    """Of ten permitted requests and one more, for each of these headers from a proxy's address."""

    def ask(trusted: str, *forwarded: str) -> list[int]:
        settings = make_settings(trusted_proxies=trusted, api_keys="k", rate_limit="1/minute")
        app = create_app(settings)
        with TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.8", 5)) as client:
            return [
                client.get("/v1/loras", headers={"X-Forwarded-For": text}).status_code
                for text in forwarded
            ]

    return ask


@pytest.mark.usefixtures("redis_client")
def test_limits_go_by_the_sender_behind_trusted_proxies_read_from_the_right(
    statuses: Callable[..., list[int]],
) -> None:
    # Given one sender who uses up what he may, writing ever other names before his own
    his = [f"9.9.9.{number}, 203.0.113.5, 10.0.0.7" for number in range(11)]

    # Then he alone is slowed down
    assert statuses("10.0.0.0/8", *his, "203.0.113.6, 10.0.0.7") == [*[401] * 10, 429, 401]


@pytest.mark.usefixtures("redis_client")
def test_nobody_else_is_believed_to_be_a_proxy(statuses: Callable[..., list[int]]) -> None:
    ever_others = [f"203.0.113.{number}" for number in range(11)]
    assert statuses("", *ever_others) == [*[401] * 10, 429]


@pytest.mark.parametrize("value", ["proxy", "10.0.0.0/99"])
def test_a_proxy_that_is_no_address_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RETOUCH_TRUSTED_PROXIES", value)
    with pytest.raises(BadSettings, match="RETOUCH_TRUSTED_PROXIES"):
        load_settings(_env_file=None)


def test_idle_connections_outlive_the_usual_proxy_s(settings: Settings) -> None:
    assert make_server(create_app(settings), settings).config.timeout_keep_alive == 75


# --- other origins


def test_every_origin_means_every_origin(gateway: Gateway) -> None:
    client = gateway(cors_origins="*")
    origin = {"Origin": "https://any.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a,b"}

    assert client.options("/v1/jobs", headers=origin | asked).is_success
    answer = submit(client, origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, "*")


def test_a_page_may_send_the_headers_of_tracing(gateway: Gateway) -> None:
    client = gateway(cors_origins="https://photos.example")
    asked = {
        "Origin": "https://photos.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "traceparent,x-request-id,x-stainless-os",
    }
    assert client.options("/v1/jobs", headers=asked).is_success


@pytest.mark.parametrize("value", ["photos.example", "https://photos.example/page", "null"])
def test_an_origin_that_is_none_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RETOUCH_CORS_ORIGINS", value)
    with pytest.raises(BadSettings, match="RETOUCH_CORS_ORIGINS"):
        load_settings(_env_file=None)


# --- ids


def test_an_answer_has_the_request_s_id_or_one_of_its_own(client: TestClient) -> None:
    sent = {"X-Request-ID": "from-the-proxy-1"}
    assert client.get("/healthz", headers=sent).headers["X-Request-ID"] == "from-the-proxy-1"
    hostile = {"X-Request-ID": "a b\\n" * 100}
    own = [client.get("/healthz", headers=one).headers["X-Request-ID"] for one in (hostile, {})]
    assert [len(text) for text in own] == [32, 32]
    assert own[0] != own[1]


def test_invented_methods_and_addresses_leave_no_trace_in_the_metrics(client: TestClient) -> None:
    for number in range(50):
        client.request(f"INVENTED{number}", f"/nothing/{number}")

    told = client.get("/metrics").text

    assert "INVENTED" not in told
    assert 'retouch_http_requests_total{method="other",route="unmatched"' in told
    assert len([line for line in told.splitlines() if "other" in line]) < 40


@pytest.fixture
def own_logging() -> Iterator[None]:
    """What the test configures ends with it: a later line would go to a stream that is closed."""
    configured, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.configure(**configured)
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("own_logging")
def test_log_lines_of_a_job_carry_request_trace_and_sender(
    gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    # Before the gateway starts: what its threads log until then would not be JSON.
    configure_logging(Settings(log_format="json", _env_file=None))  # type: ignore[call-arg]
    # A logger that remembered this way would go it in other tests, too.
    structlog.configure(cache_logger_on_first_use=False)
    client = gateway(log_format="json")
    trace = "0af7651916cd43dd8448eb211c80319c"
    job = submit(client, {"X-Request-ID": "r-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"})

    told = capfd.readouterr().err.splitlines()
    lines = [json.loads(line) for line in told if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "job accepted"]
    assert line["job"] == job.json()["id"]
    assert (line["request"], line["trace"]) == ("r-1", trace)
    assert line["client"] == "testclient"


# --- places


def test_callers_without_a_key_have_places_by_their_address() -> None:
    def place(address: str) -> str:
        return Caller(ANONYMOUS, DEFAULT_SCOPES, is_known=False, address=address).place

    assert place("203.0.113.5") == "anonymous@203.0.113.5"
    # This machine has the common ones, and so has a proxy on it that is not trusted
    assert {place("127.0.0.1"), place("::1"), place("")} == {ANONYMOUS}
    assert Caller("ada", DEFAULT_SCOPES, address="203.0.113.5").place == "ada"


@pytest.mark.parametrize(
    ("peer", "statuses"), [("203.0.113.5", [202, 429]), ("127.0.0.1", [202] * 2)]
)
@pytest.mark.usefixtures("redis_client")
def test_an_address_does_not_take_every_place_for_uploads(
    make_settings: Callable[..., Settings], peer: str, statuses: list[int]
) -> None:
    app = create_app(make_settings(uploads_per_key=1))
    with TestClient(app, base_url="http://127.0.0.1", client=(peer, 5)) as client:
        found = [submit(client).status_code]
        app.state.services.uploads.take(f"anonymous@{peer}")
        found.append(submit(client).status_code)

    assert found == statuses
