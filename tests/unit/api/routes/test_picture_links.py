"""Pictures in an object store: served by the gateway, or by a link where the operator wants it."""

from collections.abc import Callable

import httpx2
import pytest
from fastapi.testclient import TestClient

from shared.blobs import open_blobs
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.support.fleet import claim, finish
from tests.support.object_stores import BUCKET, lead_to, running_s3
from tests.unit.api.sending import submit


@pytest.mark.parametrize("links", [False, True])
def test_a_finished_picture_comes_from_the_gateway_or_by_a_link_that_needs_no_key(
    gateway: Callable[..., TestClient],
    make_settings: Callable[..., Settings],
    store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
) -> None:
    with running_s3() as (url, _):
        lead_to(url, monkeypatch)
        chosen = {"blob_url": f"s3://{BUCKET}/a", "blob_links": links}
        client = gateway(**chosen)
        job_id = submit(client).json()["id"]
        picture = finish(store, open_blobs(make_settings(**chosen)), claim(store))

        answer = client.get(f"/v1/jobs/{job_id}/image", follow_redirects=False)

        if links:
            assert answer.status_code == 302
            assert answer.headers["location"].startswith(url)
            assert httpx2.get(answer.headers["location"]).content == picture
        else:
            assert (answer.status_code, answer.content) == (200, picture)
        assert client.get(f"/v1/jobs/{job_id}/source").status_code == 200


def test_a_folder_has_no_links_so_the_gateway_serves_its_pictures(
    gateway: Callable[..., TestClient],
    make_settings: Callable[..., Settings],
    store: JobStore,
) -> None:
    client = gateway(blob_links=True)
    job_id = submit(client).json()["id"]
    picture = finish(store, open_blobs(make_settings()), claim(store))

    assert client.get(f"/v1/jobs/{job_id}/image").content == picture
