"""Refused pictures: the operator sees them, nobody else does, and the log says who looked."""

import pytest
from fastapi.testclient import TestClient

from api.routes import pictures
from shared.blobs import BlobStore
from shared.jobs import Failure, Timings
from shared.ledger.store import JobStore
from tests.support.fleet import claim, finish
from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit

KEYS = "ada=key-of-ada,boss=key-of-boss:admin"
ADA, BOSS = {"X-API-Key": "key-of-ada"}, {"X-API-Key": "key-of-boss"}
PICTURE = photo(kind="PNG")


class Log:
    """Keeps the lines about looks at pictures."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, str]] = []

    def warning(self, event: str, *, job: str, of: str, by: str) -> None:
        self.lines.append((event, job, of, by))


@pytest.fixture
def client(gateway: Gateway) -> TestClient:
    return gateway(api_keys=KEYS)


def refused(client: TestClient, store: JobStore, blobs: BlobStore) -> str:
    """The address of a job of Ada's that a guard has stopped."""
    job = submit(client, headers=ADA).json()
    blob = f"refused/{job['id']}-1.png"
    blobs.put(blob, PICTURE)
    failure = Failure(code="watermark_in_output", message="mark: x", flags=["mark"], refused=blob)
    store.fail(claim(store), failure, Timings())
    return str(job["links"]["self"])


def test_the_operator_sees_anybodys_refused_picture_and_the_log_says_so(
    client: TestClient, store: JobStore, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    monkeypatch.setattr(pictures, "logger", log)
    job = refused(client, store, blobs)
    answer = client.get(f"{job}/refused", headers=BOSS)
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "no-store"
    assert log.lines == [("refused picture shown", job.rsplit("/", 1)[1], "ada", "boss")]


def test_the_jobs_owner_neither_sees_nor_learns_of_it(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = refused(client, store, blobs)
    answer = client.get(f"{job}/refused", headers=ADA)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert client.get(f"{job}/image", headers=ADA).status_code == 404
    assert "refused" not in client.get(job, headers=ADA).text
    assert "refused" not in client.get(f"{job}/events", headers=ADA).text


def test_a_job_that_no_guard_stopped_has_no_refused_picture(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = submit(client, headers=ADA).json()["links"]["self"]
    finish(store, blobs, claim(store))
    answer = client.get(f"{job}/refused", headers=BOSS)
    assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
    unknown = client.get(f"/v1/jobs/{'0' * 32}/refused", headers=BOSS)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "job_not_found")


def test_a_refused_picture_whose_time_is_over_is_gone(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = refused(client, store, blobs)
    blobs.delete(f"refused/{job.rsplit('/', 1)[1]}-1.png")
    answer = client.get(f"{job}/refused", headers=BOSS)
    assert (answer.status_code, answer.json()["code"]) == (410, "result_expired")


def test_without_keys_only_this_machine_is_the_operator(
    gateway: Gateway, store: JobStore, blobs: BlobStore
) -> None:
    open_to_all = gateway()
    job = refused(open_to_all, store, blobs)
    answer = open_to_all.get(f"{job}/refused")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    here = TestClient(open_to_all.app, base_url="http://127.0.0.1", client=("127.0.0.1", 5))
    assert here.get(f"{job}/refused").content == PICTURE
