"""Enlargers on the wire: the list, and what a job may ask of them before any work is done."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from tests.unit.loras.lora_files import tiny_specs, write_lora
from tests.unit.upscalers.upscaler_files import FOLDED, RRDB, tensors_of, write_plain


@pytest.fixture
def client(gateway: Gateway, tmp_path: Path) -> TestClient:
    """A gateway with one sound enlarger and one file that is none."""
    write_plain(tmp_path / "sound.safetensors", tensors_of(RRDB))
    (tmp_path / "sound.toml").write_text('title = "Sound"\nlicence = "MIT"\n')
    write_plain(tmp_path / "retouch.safetensors", tensors_of(FOLDED))
    write_lora(tmp_path / "face.safetensors", tiny_specs())
    return gateway(upscalers_dir=tmp_path, max_result_pixels=1_800 * 1_200)


def send(client: TestClient, data: bytes | None = None, **fields: str) -> object:
    files = {"image": ("a.jpg", data or photo(), "image/jpeg")}
    return client.post("/v1/jobs", files=files, data=fields)


def test_every_enlarger_is_listed_the_unusable_with_its_reason(client: TestClient) -> None:
    items = {item["name"]: item for item in client.get("/v1/upscalers").json()["items"]}
    assert list(items) == ["face", "retouch", "sound"]
    sound = items["sound"]
    assert (sound["title"], sound["kind"], sound["factors"]) == ("Sound", "rrdbnet", [4])
    assert (sound["state"], sound["licence"], sound["reason"]) == ("available", "MIT", None)
    assert len(sound["sha256"]) == 64
    assert items["face"]["state"] == "incompatible"
    zh = client.get("/v1/upscalers", headers={"Accept-Language": "zh"}).json()["items"]
    assert "放大" in zh[0]["reason"]


def test_auto_is_settled_at_once_and_shown_with_its_reason(client: TestClient) -> None:
    job = send(client, photo(600, 400)).json()  # type: ignore[attr-defined]
    assert job["params"]["upscale"] == 2
    assert "600" in job["params"]["upscale_reason"]
    assert job["params"]["upscaler"] == "auto"
    chosen = send(client, photo(600, 400), upscale="1").json()  # type: ignore[attr-defined]
    assert (chosen["params"]["upscale"], chosen["params"]["upscale_reason"]) == (1, None)


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"upscaler": "gone"}, 404, "upscaler_not_found", "sound"),
        ({"upscaler": "face"}, 422, "upscaler_unusable", "not a supported enlarger"),
        ({"upscaler": "../x"}, 422, "validation_error", ""),
        ({"upscale": "5"}, 422, "validation_error", ""),
        ({"upscale": "1.5"}, 422, "validation_error", ""),
        ({"upscale": "4"}, 422, "image_too_large", "max_side=1800"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    client: TestClient, fields: dict[str, str], status: int, code: str, words: str
) -> None:
    answer = send(client, photo(600, 400), **fields)
    assert answer.status_code == status  # type: ignore[attr-defined]
    body = answer.json()  # type: ignore[attr-defined]
    assert body["code"] == code
    assert words in body["detail"]
