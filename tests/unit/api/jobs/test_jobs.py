"""A job's life as its owner sees it over HTTP, with the test as the worker."""

import io
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from PIL import Image

from shared.blobs import BlobStore
from shared.jobs import Degraded, Failure, Timings
from shared.ledger.store import JobStore
from tests.support.fleet import WORKER, claim, finish, progress, show_preview
from tests.support.pictures import PIECES, colours, is_like, photo
from tests.support.wait import wait_until
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit
from tests.unit.loras.lora_files import tiny_specs, write_lora


def test_a_job_is_taken_at_once_and_shown_whole(client: TestClient) -> None:
    response = submit(client, lora=["face_restore:0.5", "denoise"], steps="12", seed="7")

    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert response.headers["retry-after"] == "1"
    assert (job["state"], job["stage"], job["attempt"], job["worker"]) == ("queued", None, 0, None)
    assert job["progress"] == {
        "percent": 0.0,
        "step": 0,
        "total_steps": 0,
        "eta_seconds": None,
        "message": "Waiting: no worker serves tiny now",
    }
    assert job["queue"] == {"position": 0, "size": 1}
    assert [(lora["name"], lora["scale"]) for lora in job["params"]["loras"]] == [
        ("face_restore_tiny", 0.5),
        ("denoise_tiny", 1.0),
    ]
    assert all(len(lora["sha256"]) == 64 for lora in job["params"]["loras"])
    assert (job["params"]["seed"], job["params"]["steps"]) == (7, 12)
    assert (job["result"], job["error"], job["degraded"]) == (None, None, [])
    assert set(job["links"]) == {
        "self", "events", "socket", "image", "preview", "source", "cancel",
    }  # fmt: skip


def test_a_lora_s_own_settings_fill_what_the_caller_left_open(client: TestClient) -> None:
    params = submit(client, lora="face_restore").json()["params"]

    assert params["loras"][0]["scale"] == 0.8
    assert (params["strength"], params["prompt"]) == (0.55, "a sharp portrait")
    assert params["executed_steps"] == 5
    assert params["guidance_scale"] == 1.0


def test_what_the_caller_says_goes_before_the_lora_s_own(client: TestClient) -> None:
    params = submit(client, lora="face_restore:1", strength="0.3", prompt="").json()["params"]

    assert params["loras"][0]["scale"] == 1.0
    assert (params["strength"], params["prompt"], params["executed_steps"]) == (0.3, "", 3)


def test_the_fidelity_step_that_a_job_runs_with_is_shown(client: TestClient) -> None:
    suggested = submit(client, lora="none").json()["params"]
    asked = submit(client, lora="none", fidelity="low").json()["params"]

    assert (suggested["fidelity"], asked["fidelity"]) == ("residual", "low")


def test_auto_leaves_the_choice_to_the_worker(client: TestClient, store: JobStore) -> None:
    # Given a job without a LoRA's name
    job = client.post("/v1/jobs", files={"image": ("p.jpg", photo())}).json()
    assert (job["params"]["lora_mode"], job["params"]["loras"]) == ("auto", [])
    assert job["params"]["strength"] is None
    assert isinstance(job["params"]["seed"], int)

    # When a worker has looked and chosen
    claimed = claim(store)
    chosen = claimed.spec.params.model_copy(
        update={
            "lora_reason": "the photo is blurred",
            "lora_reason_zh": "照片模糊",
            "strength": 0.5,
        }
    )
    store.report_params(claimed, chosen)

    # Then the choice is shown with its reason, in the caller's language
    address = job["links"]["self"]
    params = client.get(address).json()["params"]
    assert (params["lora_reason"], params["strength"]) == ("the photo is blurred", 0.5)
    chinese = client.get(address, headers={"Accept-Language": "zh"}).json()["params"]
    assert chinese["lora_reason"] == "照片模糊"


def test_percentages_are_shown_with_a_sentence_in_the_caller_s_language(
    client: TestClient, store: JobStore
) -> None:
    address = submit(client).headers["location"]
    store.report_progress(claim(store), progress(42.5, step=2))

    english = client.get(address).json()
    chinese = client.get(address, headers={"Accept-Language": "zh"}).json()

    assert (english["state"], english["stage"], english["worker"]) == (
        "running",
        "denoising",
        WORKER,
    )
    assert english["progress"]["percent"] == 42.5
    assert english["progress"]["message"] == "Enhancing"
    assert chinese["progress"]["message"] == "正在修图"


def test_a_finished_picture_can_be_fetched_and_kept(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    # Given a finished job
    address = submit(client).headers["location"]
    data = finish(store, blobs, claim(store))

    # Then the job says what there is
    job = client.get(address).json()
    assert (job["state"], job["progress"]["percent"]) == ("succeeded", 100.0)
    assert "blob" not in job["result"]
    assert job["timings"]["total_seconds"] == 1.5

    # And the picture is served under its checksum, once
    response = client.get(job["links"]["image"])
    assert response.content == data
    assert response.headers["etag"] == f'"{job["result"]["sha256"]}"'
    assert response.headers["content-type"] == "image/png"
    assert "immutable" in response.headers["cache-control"]
    assert "sandbox" in response.headers["content-security-policy"]
    again = client.get(job["links"]["image"], headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_ten_thousand_ranges_get_the_whole_picture(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    links = submit(client).json()["links"]
    data = finish(store, blobs, claim(store))

    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(10_000))
    response = client.get(links["image"], headers={"Range": ranges})

    assert (response.status_code, response.content) == (200, data)


def test_preview_and_source_are_served(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    links = submit(client).json()["links"]
    shown = show_preview(store, blobs, claim(store))

    preview, source = client.get(links["preview"]), client.get(links["source"])

    assert (preview.content, preview.headers["content-type"]) == (shown, "image/webp")
    assert source.headers["content-type"] == "image/webp"
    assert all(is_like(*pair) for pair in zip(colours(source.content), PIECES, strict=True))
    with Image.open(io.BytesIO(source.content)) as image:
        assert image.size == (64, 48)


def test_a_failed_job_tells_why_and_has_no_picture(client: TestClient, store: JobStore) -> None:
    job = submit(client).json()
    failure = Failure(code="out_of_memory", message="torch said no at 0x7f", retryable=True)
    store.fail(claim(store), failure, Timings())

    error = client.get(job["links"]["self"]).json()["error"]
    picture = client.get(job["links"]["image"])

    assert (error["code"], error["retryable"]) == ("out_of_memory", True)
    assert "max_side" in error["advice"]
    assert "0x7f" not in error["message"]
    assert (picture.status_code, picture.json()["code"]) == (404, "image_not_found")


def test_what_was_given_up_is_said(client: TestClient, store: JobStore, blobs: BlobStore) -> None:
    address = submit(client).headers["location"]
    claimed = claim(store)
    data = photo(kind="PNG")
    blobs.put("results/x", data)
    from tests.support.jobs import make_result

    store.commit(claimed, make_result(), progress(100), Timings(), [Degraded(code="vae_tiling")])

    (notice,) = client.get(address).json()["degraded"]
    assert notice["code"] == "vae_tiling"
    assert "tiles" in notice["message"]


def test_waiting_is_cheap(client: TestClient, store: JobStore) -> None:
    # Given a job that was looked at
    address = submit(client).headers["location"]
    first = client.get(address)
    assert first.headers["retry-after"] == "1"

    # Then an unchanged one is 304, and a changed one is sent again
    known = {"If-None-Match": first.headers["etag"]}
    unchanged = client.get(address, headers=known)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    claim(store)
    assert client.get(address, headers=known).status_code == 200


def test_a_waiting_job_is_canceled_at_once_and_twice(client: TestClient) -> None:
    address = submit(client).headers["location"]

    for _ in range(2):
        response = client.delete(address)
        assert (response.status_code, response.json()["state"]) == (200, "canceled")


def test_a_running_job_is_asked_to_stop(client: TestClient, store: JobStore) -> None:
    address = submit(client).headers["location"]
    claimed = claim(store)

    assert client.delete(address).status_code == 202
    assert store.report_progress(claimed, progress(50)) == "canceled"
    store.fail(claimed, None, Timings())
    assert client.get(address).json()["state"] == "canceled"


def test_a_finished_job_stays_finished(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    address = submit(client).headers["location"]
    finish(store, blobs, claim(store))

    response = client.delete(address)

    assert (response.status_code, response.json()["code"]) == (409, "already_finished")
    assert client.get(address).json()["state"] == "succeeded"


def test_an_expired_result_is_gone(
    gateway: Gateway, store: JobStore, blobs: BlobStore, redis_client: redis.Redis
) -> None:
    client = gateway()
    job = submit(client).json()
    finish(store, blobs, claim(store))
    redis_client.hincrby(f"job:{job['id']}", "finished_ms", -2 * 86_400_000)

    for link in ("self", "image", "source"):
        response = client.get(job["links"][link])
        assert (response.status_code, response.json()["code"]) == (410, "result_expired")


def test_a_result_whose_file_was_swept_is_gone(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    job = submit(client).json()
    finish(store, blobs, claim(store))
    blobs.delete(f"results/{job['id']}")

    assert client.get(job["links"]["image"]).json()["code"] == "result_expired"


def test_a_lora_in_the_prompt_is_taken_and_one_that_is_not_there_is_said(
    client: TestClient,
) -> None:
    prompt = "a portrait, <lora:face_restore:0.5>, <lora:nobody:1>, soft light"

    params = submit(client, lora="denoise:0.9", prompt=prompt).json()["params"]

    assert [(lora["name"], lora["scale"]) for lora in params["loras"]] == [
        ("denoise_tiny", 0.9),
        ("face_restore_tiny", 0.5),
    ]
    assert params["prompt"] == "a portrait, soft light"
    assert params["lora_reason"] == (
        "Taken from the prompt: face_restore_tiny (0.5). "
        "The prompt names LoRAs that are not used: nobody."
    )


def test_a_scale_in_the_prompt_has_the_limits_of_the_deployment(client: TestClient) -> None:
    answer = submit(client, lora="denoise", prompt="<lora:face_restore:7>")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/prompt"


@pytest.mark.parametrize(
    ("said", "prompt"), [({}, "a cat, fcrst"), ({"trigger_words": "false"}, "a cat")]
)
def test_trigger_words_join_the_prompt_unless_they_are_switched_off(
    gateway: Gateway, tmp_path: Path, said: dict[str, str], prompt: str
) -> None:
    folder = tmp_path / "人像" / "x"
    folder.mkdir(parents=True)
    write_lora(folder / "soft 光.safetensors", tiny_specs())
    (folder / "soft 光.civitai.info").write_text('{"trainedWords": ["fcrst"]}')
    client = gateway(loras_dir=tmp_path / "人像")
    wait_until(lambda: client.get("/v1/loras").json()["items"], description="the LoRA is listed")

    params = submit(client, lora="x/soft 光:-4.5", prompt="a cat", **said).json()["params"]

    assert (params["prompt"], params["loras"][0]["name"]) == (prompt, "x/soft 光")
    assert client.get("/v1/loras/x/soft 光").json()["trigger_words"] == ["fcrst"]
    assert client.get("/v1/loras/x%2Fsoft%20光").json()["trigger_words"] == ["fcrst"]
