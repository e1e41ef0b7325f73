"""Requests that wait for their job: `Prefer: wait` and the one-line form."""

import io
import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from shared.blobs import BlobStore
from shared.store import JobStore
from tests.support.fleet import WORKER, finish, progress
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.unit.api.sending import submit


@pytest.fixture
def busy_worker(store: JobStore, blobs: BlobStore) -> Callable[[], threading.Thread]:
    """Start a thread that finishes the next job as soon as there is one."""

    def start() -> threading.Thread:
        def work() -> None:
            claimed = wait_until(
                lambda: store.claim("tiny", WORKER), description="a job to work on"
            )
            store.report_progress(claimed, progress(50))
            finish(store, blobs, claimed)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    return start


def test_prefer_wait_answers_with_the_finished_job(
    client: TestClient, busy_worker: Callable[[], threading.Thread]
) -> None:
    thread = busy_worker()

    response = submit(client, headers={"Prefer": "respond-async, wait=20"})

    thread.join()
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert response.headers["preference-applied"] == "wait=20"


def test_prefer_wait_gives_up_in_time(client: TestClient) -> None:
    response = submit(client, headers={"Prefer": "wait=1"})

    assert (response.status_code, response.json()["state"]) == (202, "queued")


def test_enhance_answers_the_picture_itself(
    client: TestClient, busy_worker: Callable[[], threading.Thread]
) -> None:
    thread = busy_worker()

    response = client.post("/enhance", files={"image": ("p.jpg", photo())})

    thread.join()
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.size == (64, 48)
    job = client.get(response.headers["location"]).json()
    assert job["params"]["loras"][0]["name"] == "face_restore_tiny"


def test_enhance_refuses_a_lora_of_another_base(client: TestClient) -> None:
    response = client.post(
        "/enhance", files={"image": ("p.jpg", photo())}, data={"lora": "product_lighting_sdxl"}
    )

    assert (response.status_code, response.json()["code"]) == (400, "lora_base_mismatch")
