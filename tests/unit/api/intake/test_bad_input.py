"""Every bad request gets a clear refusal, and loses nothing."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image

from shared.ledger.store import JobStore
from tests.support.jobs import make_spec
from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway


def submit(client: TestClient, data: bytes | None = None, **fields: object) -> Response:
    """Post a job; `lora` may be a list. Without data, a good photo is sent."""
    sent = photo() if data is None else data
    return client.post("/v1/jobs", files={"image": ("photo.png", sent)}, data=fields)


def check(response: Response, status: int, code: str) -> dict[str, object]:
    """The problem, after looking at what every problem has."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, object] = response.json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["advice"]
    assert problem["instance"] == response.request.url.path
    assert response.headers["x-content-type-options"] == "nosniff"
    return problem


def pointers(problem: dict[str, object]) -> list[str]:
    errors = problem["errors"]
    assert isinstance(errors, list)
    assert all(item["detail"] for item in errors)
    return [item["pointer"] for item in errors]


def test_no_file_is_said(client: TestClient) -> None:
    response = client.post("/v1/jobs", files={"lora": (None, "none")})

    assert pointers(check(response, 422, "validation_error")) == ["/image"]


def test_an_empty_file_is_said(client: TestClient) -> None:
    check(submit(client, b""), 422, "invalid_image")


def test_text_under_a_picture_s_name_is_an_unsupported_media_type(client: TestClient) -> None:
    check(submit(client, b"these are words"), 415, "unsupported_media_type")


def test_more_than_fifty_mebibytes_are_too_large(client: TestClient) -> None:
    check(submit(client, bytes(50 * 2**20 + 1)), 413, "payload_too_large")


def test_the_limit_is_the_file_s_own_to_the_byte(gateway: Gateway) -> None:
    # Given a photo of exactly the limit
    data = photo()
    client = gateway(max_upload_bytes=len(data) + 1024)
    padding = bytes(1024)

    # Then it passes, and one byte more does not
    assert submit(client, data + padding, lora="none").status_code == 202
    check(submit(client, data + padding + b"x", lora="none"), 413, "payload_too_large")


def test_a_single_pixel_is_too_small(client: TestClient) -> None:
    check(submit(client, photo(1, 1, "PNG")), 422, "image_too_small")


@pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535), (16_000, 15)])
def test_a_thread_of_a_picture_is_too_small(client: TestClient, size: tuple[int, int]) -> None:
    check(submit(client, photo(*size, "PNG")), 422, "image_too_small")


def test_a_long_receipt_is_taken_at_its_own_size(client: TestClient) -> None:
    job = submit(client, photo(60, 2_000, "PNG"), lora="none").json()

    assert (job["source"]["width"], job["source"]["height"]) == (60, 2_000)
    assert job["params"]["max_side"] is None


def test_nine_hundred_megapixels_of_one_colour_in_two_kilobytes_are_too_large(
    client: TestClient,
) -> None:
    problem = check(
        submit(client, header_of_a_png(30_000, 30_000) + bytes(2000)), 422, "image_too_large"
    )

    assert "at most 50" in str(problem["detail"])
    assert "7071x7071 would be" in str(problem["detail"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"upscale": 4}, "max_side=4000 gives 4000x1250"),
        ({"upscale": 3, "format": "webp"}, "max_side=4000 gives 4000x1250"),
    ],
)
def test_a_result_over_the_limit_is_refused_with_the_size_that_would_pass(
    gateway: Gateway, store: JobStore, fields: dict[str, object], said: str
) -> None:
    client = gateway(max_result_pixels=5_000_000)

    problem = check(submit(client, photo(1600, 500), **fields), 422, "image_too_large")

    assert said in str(problem["detail"])
    assert store.queue_size("tiny") == 0
    assert submit(client, photo(1600, 500), **fields, max_side=4000).status_code == 202


def test_an_enlargement_that_the_service_chooses_is_within_its_limits(gateway: Gateway) -> None:
    client = gateway(max_side=800)
    answer = submit(client, photo(640, 480))
    assert answer.status_code == 202
    params = answer.json()["params"]
    assert params["upscale"] == 1
    assert "limits" in params["upscale_reason"]
    assert submit(client, photo(200, 150)).json()["params"]["upscale"] == 4


@pytest.mark.parametrize("picture_format", ["auto", "webp", "jpeg", "png"])
def test_a_side_that_a_format_cannot_hold_is_no_reason_to_refuse(
    client: TestClient, picture_format: str
) -> None:
    job = submit(client, photo(17_000, 40, "PNG"), format=picture_format)

    assert job.status_code == 202
    source = client.get(job.json()["links"]["source"])
    assert source.headers["content-type"] == "image/png"
    with Image.open(BytesIO(source.content)) as image:
        assert (image.format, image.size) == ("PNG", (17_000, 40))


def test_a_decompression_bomb_is_refused_by_its_header(client: TestClient) -> None:
    check(submit(client, header_of_a_png(50_000, 50_000)), 422, "image_too_large")


def header_of_a_png(width: int, height: int) -> bytes:
    """A PNG that claims this size, with nothing in it."""
    ihdr = b"IHDR" + struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack("!I", 13) + ihdr
    return start + struct.pack("!I", zlib.crc32(ihdr)) + struct.pack("!I", 9) + b"IDAT" + bytes(13)


def test_a_truncated_jpeg_is_said(client: TestClient) -> None:
    data = photo(400, 400, quality=100)

    check(submit(client, data[: len(data) * 2 // 3]), 422, "image_truncated")


def test_an_unknown_lora_is_not_found(client: TestClient) -> None:
    problem = check(submit(client, lora="no_such_lora"), 404, "lora_not_found")

    assert "no_such_lora" in str(problem["detail"])


def test_a_lora_of_another_base_is_refused_before_it_is_queued(
    client: TestClient, store: JobStore
) -> None:
    problem = check(submit(client, lora="product_lighting"), 400, "lora_base_mismatch")

    assert "SDXL" in str(problem["detail"])
    assert store.queue_size("tiny") == 0


def test_the_same_refusal_speaks_chinese(client: TestClient) -> None:
    client.headers["Accept-Language"] = "zh-CN,zh;q=0.9,en;q=0.5"

    problem = check(submit(client, lora="product_lighting"), 400, "lora_base_mismatch")

    assert "版本不对" in str(problem["title"])
    assert "SDXL" in str(problem["detail"])
    assert "可以选择" in str(problem["detail"])


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "a" * 10_000, "..", ".hidden", "a\u202eb", "", "a/../b", "a\\b"],
)
def test_a_lora_s_name_is_never_a_path(client: TestClient, name: str) -> None:
    assert pointers(check(submit(client, lora=name), 422, "validation_error")) == ["/lora/0"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", "0"),
        ("strength", "7"),
        ("strength", "nan"),
        ("strength", "inf"),
        ("strength", "much"),
        ("strength", ""),
        ("steps", "1000000000"),
        ("steps", "0"),
        ("steps", "3.5"),
        ("steps", "9" * 5000),
        ("guidance_scale", "-1"),
        ("guidance_scale", "21"),
        ("seed", "-1"),
        ("seed", "4294967296"),
        ("max_side", "63"),
        ("max_side", "65536"),
        ("upscale", "5"),
        ("quality", "0"),
        ("format", "gif"),
        ("preview", "perhaps"),
        ("priority", "urgent"),
        ("prompt", "a" * 1001),
        ("negative_prompt", "a" * 1001),
        ("image_id", "0" * 64),
        ("webhook_url", "http://example.org/"),
        ("webhook_url", "https://"),
        ("webhook_url", "file:///etc/passwd"),
        ("webhook_url", "https://[bad"),
        ("colour", "red"),
        ("lora_mode", "auto"),
        ("fidelity", "sideways"),
    ],
)
def test_a_field_out_of_range_is_named(client: TestClient, field: str, value: str) -> None:
    problem = check(submit(client, **{field: value}), 422, "validation_error")

    assert pointers(problem) == [f"/{field}"]


@pytest.mark.parametrize("value", ["x:5.1", "x:-6", "x:nan", "x:", "x:1:2"])
def test_a_scale_out_of_range_is_named(client: TestClient, value: str) -> None:
    assert pointers(check(submit(client, lora=value), 422, "validation_error")) == ["/lora/0"]


def test_every_wrong_field_is_named_at_once(client: TestClient) -> None:
    problem = check(submit(client, strength="7", steps="0", what="x"), 422, "validation_error")

    assert sorted(pointers(problem)) == ["/steps", "/strength", "/what"]


def test_complaints_about_fields_speak_chinese(client: TestClient) -> None:
    client.headers["Accept-Language"] = "zh"

    problem = check(submit(client, strength="7"), 422, "validation_error")

    assert "不能大于 1" in str(problem["errors"])


@pytest.mark.parametrize(
    "loras",
    [
        ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
        ["auto", "none"],
        ["face_restore", "none"],
        ["x", "x:0.5"],
        ["face_restore", "face_restore_tiny"],
    ],
)
def test_loras_that_do_not_go_together_are_refused(client: TestClient, loras: list[str]) -> None:
    assert set(pointers(check(submit(client, lora=loras), 422, "validation_error"))) == {"/lora"}


@pytest.mark.parametrize("kind", ["image/jpeg", "application/json"])
def test_a_bare_body_is_told_the_right_way(client: TestClient, kind: str) -> None:
    body = photo() if kind == "image/jpeg" else b'{"image": "aGk="}'
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": kind})

    problem = check(answer, 415, "unsupported_media_type")

    assert "multipart/form-data" in str(problem["detail"])
    assert "field 'image'" in str(problem["detail"])


@pytest.mark.parametrize("field", ["file", "photo"])
def test_a_picture_under_another_name_is_told_the_right_field(
    client: TestClient, field: str
) -> None:
    problem = check(
        client.post("/v1/jobs", files={field: ("a.jpg", photo())}), 422, "validation_error"
    )

    assert pointers(problem) == [f"/{field}"]
    assert "the field image" in str(problem["detail"])


def test_two_pictures_in_one_request_are_refused(client: TestClient) -> None:
    files = [("image", ("a.png", photo())), ("image", ("b.png", photo()))]

    check(client.post("/v1/jobs", files=files), 422, "validation_error")


def test_a_file_under_another_field_is_named(client: TestClient) -> None:
    files = {"image": ("a.png", photo()), "second": ("m.png", photo())}

    assert pointers(check(client.post("/v1/jobs", files=files), 422, "validation_error")) == [
        "/second"
    ]


def test_a_field_given_twice_is_named(client: TestClient) -> None:
    response = submit(client, steps=["3", "4"])

    assert pointers(check(response, 422, "validation_error")) == ["/steps"]


def test_an_unknown_image_id_is_not_found(client: TestClient) -> None:
    for image_id in ("0" * 64, "../../etc/passwd", "x"):
        response = client.post("/v1/jobs", files={"image_id": (None, image_id)})
        check(response, 404, "image_not_found")


@pytest.mark.parametrize(
    "job_id", ["0" * 32, "nonsense", "x:events", "0" * 5000, "%2e%2e", "anonymous"]
)
@pytest.mark.parametrize("tail", ["", "/image", "/preview", "/source", "/events"])
def test_an_unknown_job_is_not_found(client: TestClient, job_id: str, tail: str) -> None:
    check(client.get(f"/v1/jobs/{job_id}{tail}"), 404, "job_not_found")


def test_an_image_before_it_is_finished_is_a_conflict_with_a_wait(client: TestClient) -> None:
    job = submit(client, lora="none").json()

    for link in ("image", "preview"):
        response = client.get(job["links"][link])
        check(response, 409, "not_finished")
        assert response.headers["retry-after"] == "1"


def test_no_worker_alive_takes_jobs_and_says_so(client: TestClient) -> None:
    # Given a fleet without workers
    response = submit(client, lora="none")

    # Then the job waits, and readiness names what is missing without refusing jobs
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    ready = client.get("/readyz")
    assert ready.status_code == 200
    checks = ready.json()["checks"]
    assert (checks["store"], checks["disk"], checks["worker"]) == ("ok", "ok", "no_worker")


@pytest.mark.parametrize(("file", "said"), [("yes", "ok"), ("no", "no_append_only_file")])
def test_readiness_says_whether_accepted_jobs_survive_the_store(
    client: TestClient, redis_client: redis.Redis, file: str, said: str
) -> None:
    before = redis_client.config_get("appendonly")
    redis_client.config_set("appendonly", file)
    try:
        ready = client.get("/readyz")
    finally:
        redis_client.config_set("appendonly", before["appendonly"])

    assert (ready.status_code, ready.json()["checks"]["persistence"]) == (200, said)


def test_a_full_queue_refuses_with_a_wait_before_it_reads(gateway: Gateway) -> None:
    client = gateway(queue_limit=1)
    assert submit(client, lora="none").status_code == 202

    response = submit(client, lora="none")

    check(response, 503, "queue_full")
    assert int(response.headers["retry-after"]) > 0


def test_a_full_disk_refuses_with_a_wait(gateway: Gateway) -> None:
    client = gateway(min_free_bytes=2**62)

    response = submit(client, lora="none")

    check(response, 503, "storage_full")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b"{}", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"lora=none", 415, "unsupported_media_type"),
        ("text/plain", b"", 415, "unsupported_media_type"),
        ("multipart/form-data", b"", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=x", b"no boundary here", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--", 400, "malformed_multipart"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n",
            400,
            "malformed_multipart",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="lora"\r\n' + b"A: " + b"a" * 200_000,
            400,
            "malformed_multipart",
        ),
    ],
)
def test_what_is_not_a_form_is_refused_in_words(
    client: TestClient, content_type: str, body: bytes, status: int, code: str
) -> None:
    response = client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})

    check(response, status, code)


def test_ten_thousand_fields_are_a_malformed_form(client: TestClient) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    for parts in (part * 10_001, part.replace(b'"a"', b'"a"; filename="b"') * 10_001):
        response = client.post(
            "/v1/jobs",
            content=parts + b"--x--\r\n",
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        check(response, 400, "malformed_multipart")


def test_unknown_addresses_and_methods_are_problems_too(client: TestClient) -> None:
    check(client.get("/v1/nothing"), 404, "not_found")
    check(client.get("/problems/no_such_code"), 404, "not_found")
    response = client.put("/v1/jobs")
    check(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"
    other = client.put(f"/v1/jobs/{'0' * 32}")
    assert other.headers["allow"] == "DELETE, GET, HEAD"


def test_a_bad_query_is_a_problem_with_a_pointer(client: TestClient) -> None:
    response = client.get("/v1/jobs", params={"limit": 0, "cursor": "x"})

    assert pointers(check(response, 422, "validation_error")) == ["/cursor", "/limit"]


def test_a_refusal_leaves_no_picture_behind(client: TestClient, tmp_path: Path) -> None:
    for response in (
        submit(client, b"words"),
        submit(client, photo(1, 1)),
        submit(client, strength="7"),
        submit(client, lora="unknown"),
    ):
        assert response.is_error

    kept = [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()]
    assert kept == []


def test_an_unforeseen_error_shows_nothing_of_itself(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/secret/path and a token")

    monkeypatch.setattr(JobStore, "get", fail)

    response = client.get(f"/v1/jobs/{make_spec().id}")

    problem = check(response, 500, "internal_error")
    assert "secret" not in str(problem)


def test_a_picture_s_name_is_never_used(client: TestClient, tmp_path: Path) -> None:
    hostile = "../../<img src=x onerror=alert(1)>.png"
    response = client.post("/v1/jobs", files={"image": (hostile, photo())}, data={"lora": "none"})

    assert response.status_code == 202
    assert "onerror" not in response.text
    names = {path.name for path in tmp_path.rglob("*")}
    assert not any("img" in name for name in names)
