"""Lists, uploads, LoRAs, and what the deployment tells of itself."""

import io
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from PIL import Image

from shared.blobs import BlobStore
from shared.errors import RetouchError, StoreUnavailable
from shared.ledger.fleet import Fleet
from shared.ledger.queue import Hints
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.fleet import claim, live_worker
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit


def test_jobs_are_listed_page_by_page_with_none_missing_and_none_twice(gateway: Gateway) -> None:
    client = gateway(allow_anonymous=True)
    made = [submit(client).json()["id"] for _ in range(7)]

    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 3, **cursor}).json()
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == made[::-1] or sorted(seen) == sorted(made)
    assert len(seen) == 7


def test_jobs_of_one_millisecond_are_listed_across_pages(
    gateway: Gateway, redis_client: redis.Redis
) -> None:
    # Given five jobs that the ledger recorded within the same millisecond
    client = gateway(allow_anonymous=True)
    made = [submit(client).json()["id"] for _ in range(5)]
    moment = redis_client.zscore("client:anonymous:jobs", made[0])
    for job_id in made:
        redis_client.zadd("client:anonymous:jobs", {job_id: float(moment or 0)})
        redis_client.hset(f"job:{job_id}", "created_ms", int(moment or 0))

    # Then pages of two show each of them once
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = client.get("/v1/jobs", params={"limit": 2, **cursor}).json()
        seen += [job["id"] for job in page["items"]]
        cursor = {"cursor": page["next_cursor"] or ""}
    assert sorted(seen) == sorted(made)
    assert cursor == {"cursor": ""}


def test_an_upload_is_kept_for_later_jobs(client: TestClient, store: JobStore) -> None:
    # Given an upload
    response = client.post("/v1/images", files={"image": ("p.png", photo(kind="PNG", mode="RGB"))})
    image = response.json()
    assert response.status_code == 201
    assert (image["width"], image["height"], image["warnings"]) == (64, 48, [])
    assert len(image["id"]) == 64

    # Then it can be looked for, and worked on without being sent again
    assert client.head(f"/v1/images/{image['id']}").status_code == 200
    assert client.head(f"/v1/images/{'0' * 64}").status_code == 404
    job = client.post("/v1/jobs", files={"image_id": (None, image["id"]), "lora": (None, "none")})
    assert job.status_code == 202
    assert claim(store).spec.source.image_id == image["id"]


def test_what_a_job_would_be_refused_for_is_told_with_the_upload(client: TestClient) -> None:
    clear = Image.new("RGBA", (2400, 300), (200, 40, 40, 0))
    out = io.BytesIO()
    clear.save(out, "PNG")

    image = client.post("/v1/images", files={"image": ("p.png", out.getvalue())}).json()

    assert (image["width"], image["height"]) == (2400, 300)
    assert [warning["code"] for warning in image["warnings"]] == ["blank"]


def test_an_upload_of_fields_alone_is_refused(client: TestClient) -> None:
    response = client.post("/v1/images", files={"title": (None, "x")})

    assert response.json()["code"] == "validation_error"
    assert {error["pointer"] for error in response.json()["errors"]} == {"/title", "/image"}


def test_an_upload_whose_bytes_were_swept_is_not_found(
    client: TestClient, blobs: BlobStore
) -> None:
    image = client.post("/v1/images", files={"image": ("p.png", photo())}).json()
    blobs.delete(f"sources/{image['id']}")

    assert client.head(f"/v1/images/{image['id']}").status_code == 404


def test_loras_are_listed_with_the_reason_why_one_cannot_be_used(client: TestClient) -> None:
    items = {item["name"]: item for item in client.get("/v1/loras").json()["items"]}

    assert set(items) == {"face_restore_tiny", "denoise_tiny", "product_lighting_sdxl"}
    assert items["face_restore_tiny"]["state"] == "available"
    assert items["face_restore_tiny"]["title"] == "Face restore"
    assert items["face_restore_tiny"]["default_scale"] == 0.8
    assert items["product_lighting_sdxl"]["state"] == "incompatible"
    assert "SDXL" in items["product_lighting_sdxl"]["reason"]
    assert not any("path" in item for item in items.values())


def test_the_list_of_loras_goes_out_packed_where_that_is_taken(client: TestClient) -> None:
    packed = client.get("/v1/loras", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/v1/loras", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert "Accept-Encoding" in packed.headers["vary"]
    sample = client.get("/v1/loras/face_restore/sample", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in sample.headers


def test_a_lora_is_found_by_either_name_and_has_its_sample(client: TestClient) -> None:
    by_short = client.get("/v1/loras/face_restore", headers={"Accept-Language": "zh"}).json()

    assert (by_short["name"], by_short["title"]) == ("face_restore_tiny", "人脸修复")
    sample = client.get(by_short["sample_url"])
    assert (sample.status_code, sample.headers["content-type"]) == (200, "image/png")
    assert client.get("/v1/loras/denoise/sample").json()["code"] == "image_not_found"
    assert client.get("/v1/loras/unknown").json()["code"] == "lora_not_found"
    assert client.get("/v1/loras/..%2f..%2fetc").status_code == 404


def test_a_lora_dropped_into_the_folder_is_offered_soon(gateway: Gateway, tmp_path: Path) -> None:
    from tests.unit.loras.lora_files import tiny_specs, write_lora

    folder = tmp_path / "loras"
    folder.mkdir()
    client = gateway(loras_dir=folder)
    assert client.get("/v1/loras").json()["items"] == []

    write_lora(folder / "new_one_tiny.safetensors", tiny_specs())

    wait_until(
        lambda: client.get("/v1/loras").json()["items"], description="the new LoRA to be listed"
    )


def test_capabilities_tell_the_limits(client: TestClient, settings: Settings) -> None:
    told = client.get("/v1/capabilities").json()

    assert told["base"] == {
        "id": "tiny",
        "family": "tiny",
        "label": "retouch tiny",
        "guidance_scale": 1.0,
        "steps": 10,
        "sampler": "dpmpp_2m",
        "workers": 0,
        "served": False,
        "complaints": [],
    }
    assert told["limits"]["max_upload_bytes"] == settings.max_upload_bytes
    assert told["limits"]["max_side"] == settings.max_side
    assert told["formats"] == {
        "input": ["png", "jpeg", "webp", "heic", "avif", "tiff", "bmp", "gif"],
        "output": ["png", "jpeg", "webp"],
    }
    assert told["workers"] == 0


def test_a_hint_that_cannot_be_sent_costs_nothing(
    client: TestClient, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the broker does not answer")

    monkeypatch.setattr(Hints, "send", fail)

    assert submit(client).status_code == 202
    assert store.queue_size("tiny") == 1


def test_metrics_count_by_route_and_never_by_id(client: TestClient) -> None:
    job = submit(client).json()
    client.get(job["links"]["self"])
    client.get("/nowhere/at/all")

    text = client.get("/metrics").text

    assert 'route="/v1/jobs/{job_id}",status="200"' in text
    assert 'route="unmatched",status="404"' in text
    assert 'retouch_queue_size{base="tiny"} 1.0' in text
    assert job["id"] not in text


def test_metrics_tell_what_has_happened_to_the_fleet(client: TestClient, store: JobStore) -> None:
    # Given a job whose worker dies, and that another has now
    submit(client)
    store.claim("tiny", "dead")
    store.reap_worker("dead")
    store.claim("tiny", "alive")
    submit(client)
    # When
    lines = client.get("/metrics").text.splitlines()
    # Then
    for line in (
        "retouch_jobs_submitted_total 2.0",
        "retouch_attempts_total 2.0",
        'retouch_leases_reaped_total{cause="worker_died"} 1.0',
        'retouch_leases_reaped_total{cause="expired"} 0.0',
        'retouch_recovery_seconds_bucket{le="+Inf"} 1.0',
        'retouch_jobs_finished_total{state="succeeded"} 0.0',
        "retouch_jobs_running 1.0",
    ):
        assert line in lines
    assert any(line.startswith("retouch_queue_oldest_seconds 0.") for line in lines)


def test_metrics_tell_what_each_worker_has_of_loras_and_how_workers_ended(
    client: TestClient, store: JobStore, redis_client: redis.Redis
) -> None:
    residency = {"loras_in_ram": ["soft"], "hits": 3, "misses": 1, "load_seconds": 0.25}
    residency |= {"evictions": 2, "switches": 4, "switch_seconds": 0.5, "ram_bytes": 1024}
    worker = live_worker("w-1", host="here", residency=residency)
    Fleet(redis_client).announce(worker)
    store.count("ended:weights_changed")
    store.count("alarm:cpu_beside_gpu")

    lines = client.get("/metrics").text.splitlines()

    for line in (
        'retouch_lora_hits_total{worker="w-1"} 3.0',
        'retouch_lora_misses_total{worker="w-1"} 1.0',
        'retouch_lora_evictions_total{worker="w-1"} 2.0',
        'retouch_lora_load_seconds_total{worker="w-1"} 0.25',
        'retouch_lora_switch_seconds_total{worker="w-1"} 0.5',
        'retouch_lora_ram_bytes{worker="w-1"} 1024.0',
        'retouch_worker_ends_total{cause="weights_changed"} 1.0',
        'retouch_worker_ends_total{cause="hung"} 0.0',
        "retouch_workers_beside_gpu_total 1.0",
    ):
        assert line in lines
    assert client.get("/v1/workers").json()["items"][0]["residency"] == residency


def test_errors_of_our_own_are_never_a_500() -> None:
    from api.wire.problems import STATUS
    from shared.errors import ERRORS
    from shared.messages import advice, title

    assert set(ERRORS) == set(STATUS)
    assert all(issubclass(error, RetouchError) for error in ERRORS.values())
    assert all(title(code, "zh") and advice(code, "zh") for code in ERRORS)


def test_every_get_answers_head_the_same_without_a_body(gateway: Gateway) -> None:
    # Given a job and an upload behind a key
    client = gateway(api_keys="ada=secret:submit+read,bob=other:submit", cors_origins="")
    client.headers["X-API-Key"] = "secret"
    job = submit(client).json()
    pages = ("/", "/docs", "/problems/queue_full", "/static/page.css", "/openapi.json", "/healthz")
    data = ("/v1/loras", "/v1/capabilities", job["links"]["self"], job["links"]["source"])

    for path in (*pages, *data):
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, whole.status_code) == (200, 200), path
        for name in ("content-type", "content-length", "etag", "content-security-policy"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)

    # And what would be refused is refused, in the same way
    assert client.head(f"/v1/jobs/{'0' * 32}").status_code == 404
    assert client.head(job["links"]["image"]).status_code == 409
    assert client.head("/v1/loras", headers={"X-API-Key": "wrong"}).status_code == 401
    assert client.head("/v1/loras", headers={"X-API-Key": "other"}).status_code == 403
    tag = client.head(job["links"]["source"]).headers["etag"]
    assert client.head(job["links"]["source"], headers={"If-None-Match": tag}).status_code == 304


def test_a_stream_and_a_post_have_no_head(client: TestClient) -> None:
    job = submit(client).json()

    for path in (job["links"]["events"], "/enhance", f"{job['links']['self']}/ticket"):
        answer = client.head(path)
        assert answer.status_code == 405
        assert "HEAD" not in answer.headers["allow"]
    assert client.put("/v1/loras").headers["allow"] == "GET, HEAD"
