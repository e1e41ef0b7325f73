"""POST /v1/previews, with a worker's end of the line played by the test."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from fastapi.testclient import TestClient

from shared.ledger.fleet import Fleet
from shared.ledger.preview_queue import PreviewRequest, open_line
from shared.settings import Settings
from tests.support.fleet import live_worker
from tests.support.pictures import photo
from tests.support.wait import wait_until


@pytest.fixture
def worker(settings: Settings, redis_client: redis.Redis) -> Iterator[list[PreviewRequest]]:
    """A worker that answers every preview with its own name; yields what it was asked."""
    info = live_worker("w")
    Fleet(redis_client).announce(info)
    line, asked, stopping = open_line(settings, "tiny"), [], threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            pending = line.next(0.1)
            if pending is not None:
                asked.append(pending.request)
                line.answer(pending.request, b"a picture")

    thread = threading.Thread(target=serve)
    thread.start()
    yield asked
    stopping.set()
    thread.join()
    line.client.close()


@pytest.fixture
def image_id(client: TestClient) -> str:
    answer = client.post("/v1/images", files={"image": ("a.jpg", photo(), "image/jpeg")})
    return str(answer.json()["id"])


def test_a_preview_comes_back_as_webp_with_the_loras_own_defaults(
    client: TestClient, worker: list[PreviewRequest], image_id: str
) -> None:
    answer = client.post("/v1/previews", json={"image_id": image_id, "lora": "face_restore"})
    assert (answer.status_code, answer.content) == (200, b"a picture")
    assert answer.headers["content-type"] == "image/webp"
    params = worker[0].params
    assert (params.loras[0].name, params.loras[0].scale) == ("face_restore_tiny", 0.8)
    assert params.strength == 0.55


def test_the_sliders_strength_goes_first(
    client: TestClient, worker: list[PreviewRequest], image_id: str
) -> None:
    wanted = {"strength": 0.9, "seed": 4, "pyramid": 2}
    body = {"image_id": image_id, "lora": ["face_restore:0.3"], **wanted}
    assert client.post("/v1/previews", json=body).status_code == 200
    params = worker[0].params
    assert (params.strength, params.seed, params.loras[0].scale) == (0.9, 4, 0.3)
    assert params.pyramid == 2


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"image_id": "0" * 64}, 404, "image_not_found"),
        ({"lora": "nobody"}, 404, "lora_not_found"),
        ({"lora": "product_lighting_sdxl"}, 400, "lora_base_mismatch"),
        ({"strength": 7}, 422, "validation_error"),
        ({"strength": "much"}, 422, "validation_error"),
        ({"pyramid": 9}, 422, "validation_error"),
        ({"colour": "red"}, 422, "validation_error"),
        ({"session": "x" * 65}, 422, "validation_error"),
    ],
)
@pytest.mark.usefixtures("worker")
def test_bad_requests_are_refused_in_words(
    client: TestClient, image_id: str, change: dict[str, object], status: int, code: str
) -> None:
    body = {"image_id": image_id, "lora": "none"} | change
    answer = client.post("/v1/previews", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["advice"]


def test_without_a_worker_it_says_so_at_once(client: TestClient, image_id: str) -> None:
    answer = client.post("/v1/previews", json={"image_id": image_id, "lora": "none"})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
    assert answer.headers["retry-after"]


def test_forty_sliders_that_wait_hold_up_nobody_else(
    client: TestClient, image_id: str, redis_client: redis.Redis
) -> None:
    # Given a worker that is announced and answers none of forty sliders
    info = live_worker("w")
    Fleet(redis_client).announce(info)
    body = {"image_id": image_id, "lora": "none"}
    line = "previews:tiny"
    with ThreadPoolExecutor(44) as sliders:
        answers = [sliders.submit(client.post, "/v1/previews", json=body) for _ in range(44)]
        wait_until(lambda: redis_client.llen(line) == 44, description="44 that wait")
        # When somebody looks at jobs, then it is not behind them
        looked = client.get("/v1/jobs/" + "0" * 32)
        assert looked.status_code == 404
        assert not any(answer.done() for answer in answers)
    assert {answer.result().json()["code"] for answer in answers} == {"no_worker"}
