"""Sending a photo as a caller does."""

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.pictures import photo


def submit(client: TestClient, headers: dict[str, str] | None = None, **fields: object) -> Response:
    """Post a good photo; without further fields it asks for the base alone."""
    asked = {"lora": "none"} | fields
    files = {"image": ("photo.jpg", photo())}
    return client.post("/v1/jobs", files=files, data=asked, headers=headers)
