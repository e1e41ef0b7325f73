"""The JavaScript client in Chromium, in a page of another origin than the service's."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from shared.settings import REPOSITORY
from tests.browser.conftest import browser
from tests.faces.conftest import KEYS
from tests.support.http_servers import Quiet, serving
from tests.support.pictures import photo
from tests.support.stack import RunningUp, running_up

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PAGE = b"""<!doctype html><title>another site</title><script type="module">
import { enhance, Retouch } from "./retouch.js";
window.enhanced = async (options) => {
  const photo = await (await fetch("photo.jpg")).blob();
  const told = { percents: [], uploads: [], previews: [] };
  const better = await enhance(photo, {
    ...options,
    onProgress: ({ percent }) => told.percents.push(percent),
    onUpload: (share) => told.uploads.push(share),
    onPreview: ({ type }) => told.previews.push(type),
  });
  const { width, height } = await createImageBitmap(better);
  return { ...told, type: better.type, width, height };
};
window.refused = (options) =>
  enhanced(options).then(() => null, ({ name, code, status }) => ({ name, code, status }));
window.left = async (options) => {
  const leaving = new AbortController();
  const photo = await (await fetch("photo.jpg")).blob();
  const onProgress = () => leaving.abort();
  const work = enhance(photo, { ...options, signal: leaving.signal, onProgress });
  return work.then(() => "done", ({ name }) => name);
};
window.ready = true;
</script>"""


class Files(Quiet, SimpleHTTPRequestHandler):
    """Serves a folder."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A site of its own, which serves the client's file, a page and a photo."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "retouch.js").write_bytes((REPOSITORY / "client-js" / "retouch.js").read_bytes())
    (folder / "index.html").write_bytes(PAGE)
    (folder / "photo.jpg").write_bytes(photo(96, 72))
    with serving(partial(Files, directory=str(folder))) as url:
        yield url


@pytest.fixture(scope="module")
def service(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """A service with a key that the site's pages may call, and no other site's."""
    folder: Path = tmp_path_factory.mktemp("service")
    settings = {"api_keys": f"ada={KEYS['ada']}", "api_key": KEYS["ada"], "cors_origins": site}
    with running_up(folder, fake_step_seconds="0.05", **settings) as running:
        yield running


@pytest.fixture
def page(browser: "Browser", site: str) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(site)
    opened.wait_for_function("window.ready")
    yield opened
    context.close()


def options(service: RunningUp, **more: object) -> dict[str, object]:
    return {"url": service.url, "key": KEYS["ada"], "lora": "none", "patience": 5000} | more


def test_a_page_of_a_listed_origin_gets_picture_progress_upload_and_preview(
    page: Any, service: RunningUp
) -> None:
    told = page.evaluate("enhanced", options(service, steps=50, strength=1, upscale=2))

    assert (told["type"], told["width"], told["height"]) == ("image/jpeg", 192, 144)
    assert told["percents"] == sorted(told["percents"])
    assert told["percents"][-1] == 100
    assert len(told["percents"]) > 2
    assert told["uploads"][-1] == 1
    assert set(told["previews"]) == {"image/webp"}


def test_a_page_that_leaves_cancels_its_job(page: Any, service: RunningUp) -> None:
    assert page.evaluate("left", options(service, steps=50, strength=1)) == "AbortError"

    headers = {"X-API-Key": KEYS["ada"]}
    newest = httpx2.get(f"{service.url}/v1/jobs?limit=1", headers=headers).json()["items"][0]
    assert newest["state"] != "succeeded"


def test_a_refusal_is_read_across_origins(page: Any, service: RunningUp) -> None:
    wrong = page.evaluate("refused", options(service, strength=7))
    stranger = page.evaluate("refused", options(service, key="wrong"))

    assert (wrong["name"], wrong["code"], wrong["status"]) == (
        "RetouchError", "validation_error", 422
    )  # fmt: skip
    assert (stranger["code"], stranger["status"]) == ("unauthenticated", 401)


def test_a_page_of_any_other_origin_reads_nothing(
    browser: "Browser", site: str, service: RunningUp
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.replace("127.0.0.1", "localhost"))
    page.wait_for_function("window.ready")

    refused = page.evaluate("refused", options(service, patience=0))
    context.close()

    assert (refused["name"], refused.get("status")) == ("TypeError", None)
