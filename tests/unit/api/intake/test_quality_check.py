"""The input gate: what is refused for its quality, in which words, and how a caller insists."""

import io

import numpy as np
import pytest
import redis
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image
from skimage import data

from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from worker.training.damage import RANGES, Pixels, degrade
from worker.training.damage.blurring import gaussian


def submit(
    client: TestClient,
    picture: bytes | None,
    headers: dict[str, str] | None = None,
    **fields: object,
) -> Response:
    """Post a picture, or none, as a job for the base alone."""
    asked: dict[str, object] = {"lora": "none"} | fields
    files: dict[str, object] = {name: (None, value) for name, value in asked.items()}
    if picture is not None:
        files["image"] = ("photo.png", picture)
    return client.post("/v1/jobs", files=files, headers=headers)


def encoded(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def cat() -> Pixels:
    return np.asarray(data.chelsea())


def one_colour(level: int) -> Pixels:
    return np.full((120, 160, 3), level, np.uint8)


REFUSED = {
    "image_too_blurry": lambda: encoded(gaussian(cat(), 14)),
    "image_too_dark": lambda: encoded(cat() // 40),
    "image_blank": lambda: encoded(one_colour(140)),
    "image_too_small": lambda: photo(60, 20),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_helped_is_refused_until_the_caller_insists(
    client: TestClient, code: str
) -> None:
    picture = REFUSED[code]()
    refused = submit(client, picture)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert "force=true" in refused.json()["advice"]
    assert submit(client, picture, force="true").status_code == 202


def test_a_picture_that_is_small_is_told_its_size_and_the_least(client: TestClient) -> None:
    refused = submit(client, REFUSED["image_too_small"]()).json()
    assert refused["detail"] == "60x20 has a side of less than 32 pixels."
    assert "from the least size on" in refused["advice"]


def test_the_sentences_are_those_of_the_design(client: TestClient) -> None:
    picture = REFUSED["image_too_blurry"]()
    english = submit(client, picture).json()
    chinese = submit(client, picture, headers={"Accept-Language": "zh"}).json()
    assert english["title"] == "This photo is too blurry even for the model."
    assert english["advice"] == "Try a clearer one, or continue anyway with force=true."
    assert chinese["title"] + chinese["advice"] == (
        "这张图太糊了，AI 也犯难。换张清晰的试试？或用 force=true 继续。"
    )


@pytest.mark.parametrize("kind", RANGES)
def test_damage_that_a_lora_treats_is_let_in(client: TestClient, kind: str) -> None:
    low, high = RANGES[kind].measured  # type: ignore[index]
    worst = low if kind == "jpeg" else high
    harmed = degrade(cat(), kind, worst, np.random.default_rng(0))  # type: ignore[arg-type]
    assert submit(client, encoded(harmed)).status_code == 202


def test_an_upload_without_a_job_is_warned_and_its_job_refused(client: TestClient) -> None:
    files = {"image": ("x.png", REFUSED["image_too_dark"](), "image/png")}
    upload = client.post("/v1/images", files=files)
    assert upload.status_code == 201
    assert [warning["code"] for warning in upload.json()["warnings"]] == ["too_dark"]
    job = submit(client, None, image_id=upload.json()["id"])
    assert (job.status_code, job.json()["code"]) == (422, "image_too_dark")
    assert submit(client, None, image_id=upload.json()["id"], force="true").status_code == 202


def test_an_upload_from_before_the_gate_is_let_in(
    client: TestClient, redis_client: redis.Redis
) -> None:
    files = {"image": ("x.png", REFUSED["image_too_dark"](), "image/png")}
    image_id = client.post("/v1/images", files=files).json()["id"]
    redis_client.hdel(f"image:{image_id}", "quality")
    assert submit(client, None, image_id=image_id).status_code == 202


def test_each_reason_can_be_switched_off(gateway: Gateway) -> None:
    client = gateway(gate="small,blank")
    assert submit(client, REFUSED["image_too_blurry"]()).status_code == 202
    assert submit(client, REFUSED["image_blank"]()).json()["code"] == "image_blank"
    assert submit(gateway(gate="off"), REFUSED["image_blank"]()).status_code == 202


def test_a_large_photo_is_judged_as_a_small_one_is(client: TestClient) -> None:
    """A blur of 4 pixels on a photo of twice the size is one of little more than 2."""
    height, width = cat().shape[:2]
    large = Image.fromarray(cat()).resize((width * 2, height * 2), Image.Resampling.BICUBIC)
    assert submit(client, encoded(gaussian(np.asarray(large), 4))).status_code == 202
