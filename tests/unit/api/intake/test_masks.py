"""Masks as people send them: what counts as white, what is stored, and what is refused."""

import io
import json
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image

from shared.blobs import BlobStore
from shared.jobs import MASKS_SINCE
from shared.ledger.store import JobStore
from tests.support.pictures import photo
from tests.unit.api.conftest import Gateway
from tests.unit.api.intake.test_bad_input import check, pointers

Colour = int | tuple[int, ...]


def halves(mode: str, left: Colour, right: Colour, kind: str = "PNG", **save: Any) -> bytes:
    """A mask of 32 x 24 pixels whose halves have these colours."""
    image = Image.new(mode, (32, 24), right)
    image.paste(left, (0, 0, 16, 24))
    out = io.BytesIO()
    image.save(out, kind, **save)
    return out.getvalue()


def indexed() -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(halves("L", 255, 0))).convert("P").save(out, "PNG")
    return out.getvalue()


WHITE_LEFT = halves("L", 255, 0)


def send(client: TestClient, mask: bytes, path: str = "/v1/jobs", **fields: str) -> Response:
    files = {"image": ("a.jpg", photo()), "mask": ("mask.png", mask)}
    return client.post(path, files=files, data={"lora": "none"} | fields)


def stored(store: JobStore, blobs: BlobStore, answer: Response) -> Image.Image:
    assert answer.status_code == 202, answer.text
    mask = store.get(answer.json()["id"]).spec.mask
    assert mask is not None
    return Image.open(io.BytesIO(blobs.get(mask.blob)))


@pytest.mark.parametrize(
    "mask",
    [
        WHITE_LEFT,
        halves("1", 1, 0),
        indexed(),
        halves("I;16", 65535, 0),
        halves("RGB", (255, 255, 255), (0, 0, 0)),
        halves("L", 250, 6),
        halves("L", 255, 0, "JPEG", quality=60),
        halves("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
        halves("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)),
        halves("RGBA", (255, 0, 0, 255), (255, 0, 0, 0)),
        halves("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        halves("LA", (255, 255), (255, 0)),
        halves("LA", (0, 255), (255, 0)),
        halves("RGBA", (255, 255, 255, 255), (0, 0, 0, 128)),
        halves("L", 255, 0, "TIFF"),
        halves("RGB", (255, 255, 255), (0, 0, 0), "WEBP", lossless=True),
        halves("RGB", (255, 255, 255), (0, 0, 0), "BMP"),
    ],
)
def test_white_or_painted_is_where_the_photo_is_replaced(
    client: TestClient, store: JobStore, blobs: BlobStore, mask: bytes
) -> None:
    kept = stored(store, blobs, send(client, mask))

    assert (kept.mode, kept.size, kept.format) == ("L", (32, 24), "PNG")
    assert [kept.getpixel((x, 12)) for x in (4, 27)] == [255, 0]


def test_a_turned_mask_is_turned_upright_as_a_photo_is(
    client: TestClient, store: JobStore, blobs: BlobStore
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = stored(store, blobs, send(client, halves("L", 255, 0, "JPEG", exif=exif)))

    assert kept.size == (24, 32)
    assert [kept.getpixel((12, y)) for y in (4, 27)] == [255, 0]


def test_a_job_shows_its_mask_s_size_and_needs_a_worker_that_knows_masks(
    client: TestClient, store: JobStore
) -> None:
    job = send(client, WHITE_LEFT).json()

    assert job["mask"] == {"width": 32, "height": 24}
    assert store.get(job["id"]).spec.needs == MASKS_SINCE
    without = client.post("/v1/jobs", files={"image": ("a.jpg", photo())}).json()
    assert without["mask"] is None


def test_a_mask_goes_with_an_earlier_upload_too(client: TestClient, store: JobStore) -> None:
    image = client.post("/v1/images", files={"image": ("a.jpg", photo())}).json()
    files = {"image_id": (None, image["id"]), "mask": ("m.png", WHITE_LEFT)}

    job = client.post("/v1/jobs", files=files).json()

    assert store.get(job["id"]).spec.mask is not None


def test_an_upload_alone_takes_no_mask(client: TestClient) -> None:
    files = {"image": ("a.jpg", photo()), "mask": ("m.png", WHITE_LEFT)}

    assert pointers(check(client.post("/v1/images", files=files), 422, "validation_error")) == [
        "/mask"
    ]


def test_a_field_in_which_a_browser_s_user_chose_no_file_is_no_mask(
    client: TestClient, store: JobStore
) -> None:
    boundary = "b"
    parts = [("image", "a.jpg", photo()), ("mask", "", b"")]
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, file, data in parts
    )
    answer = client.post(
        "/v1/jobs",
        content=body + f"--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )

    assert answer.status_code == 202, answer.text
    assert store.get(answer.json()["id"]).spec.mask is None


def test_a_black_mask_is_accepted_and_that_is_said(client: TestClient) -> None:
    job = send(client, halves("L", 0, 0)).json()

    assert [item["code"] for item in job["source"]["warnings"]] == ["mask_empty"]
    assert "nothing" in job["source"]["warnings"][0]["message"]


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (b"", "empty"),
        (b"GIF89a", "incomplete"),
        (b"%PDF-1.4", "PDF"),
        (WHITE_LEFT[:-30], "incomplete"),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\xff" * 40, ""),
        (b"<svg/>", "format"),
    ],
    ids=["empty", "header alone", "PDF", "cut", "no size", "SVG"],
)
def test_a_mask_that_is_no_picture_is_named_as_the_mask(
    client: TestClient, mask: bytes, word: str
) -> None:
    problem = check(send(client, mask), 422, "validation_error")

    assert pointers(problem) == ["/mask"]
    assert str(problem["detail"]).startswith("mask cannot be used: ")
    assert word.lower() in str(problem["detail"]).lower()


def test_a_mask_with_too_many_pixels_is_refused_before_it_is_decoded(gateway: Gateway) -> None:
    client = gateway(max_pixels=10_000)
    out = io.BytesIO()
    Image.new("L", (200, 100)).save(out, "PNG")

    problem = check(send(client, out.getvalue()), 422, "validation_error")

    assert pointers(problem) == ["/mask"]
    assert "megapixels" in str(problem["detail"])


def test_the_same_request_with_another_mask_is_another_request(client: TestClient) -> None:
    def again(mask: bytes | None) -> Response:
        files: dict[str, Any] = {"image": ("a.jpg", photo())}
        files |= {"mask": ("m.png", mask)} if mask else {}
        return client.post("/v1/jobs", files=files, headers={"Idempotency-Key": "k"})

    first = again(WHITE_LEFT).json()

    assert again(WHITE_LEFT).json()["id"] == first["id"]
    check(again(halves("L", 0, 255)), 422, "idempotency_key_reuse")
    check(again(None), 422, "idempotency_key_reuse")


def test_a_mask_that_a_waiting_job_needs_does_not_expire(
    client: TestClient, store: JobStore, redis_client: redis.Redis
) -> None:
    job = send(client, WHITE_LEFT).json()
    spec = json.loads(str(redis_client.hget(f"job:{job['id']}", "spec")))

    assert store.sources_in_use() == {spec["source"]["blob"], spec["mask"]["blob"]}


def test_two_masks_and_a_mask_that_is_text_are_refused(client: TestClient) -> None:
    twice = [("image", ("a.jpg", photo())), *[("mask", ("m.png", WHITE_LEFT))] * 2]
    text = {"image": ("a.jpg", photo()), "mask": (None, "white")}

    for files in (twice, text):
        problem = check(client.post("/v1/jobs", files=files), 422, "validation_error")
        assert pointers(problem) == ["/mask"]
