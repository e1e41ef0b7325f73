"""The page as an app: it opens without its server, jobs wait, photos are shared with it."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from shared.settings import REPOSITORY
from tests.browser.driving import a_photo, choose, download, wait_for
from tests.support.relay import relayed
from tests.support.stack import RunningUp

CACHED = """async () => {
  const found = [];
  for (const name of await caches.keys())
    for (const { url } of await (await caches.open(name)).keys()) found.push(new URL(url).pathname);
  return found;
}"""
READY = "async () => (await navigator.serviceWorker.ready).active !== null"


@pytest.fixture
def device(browser: Browser) -> Iterator[BrowserContext]:
    """A device that may install the page."""
    made = browser.new_context(locale="en-US", reduced_motion="reduce", accept_downloads=True)
    made.set_default_timeout(60_000)
    yield made
    made.close()


def opened(device: BrowserContext, url: str) -> Page:
    """The page, kept on this device."""
    page = device.new_page()
    page.goto(url)
    assert page.evaluate(READY)
    page.wait_for_function("async () => (await caches.keys()).length > 0")
    page.reload()
    return page


def test_what_an_app_needs_is_stated_and_there(page: Page, stack: RunningUp) -> None:
    link = page.get_attribute("link[rel=manifest]", "href")
    manifest = page.request.get(f"{stack.url}/{link}").json()
    assert manifest["display"] == "standalone"
    assert manifest["share_target"]["action"] == "share"
    assert ".heic" in json.dumps(manifest["file_handlers"])
    for icon in manifest["icons"]:
        assert page.request.get(f"{stack.url}/{icon['src']}").ok


def test_everything_that_the_page_loads_is_kept_and_nothing_of_a_key(
    device: BrowserContext, stack: RunningUp
) -> None:
    page = opened(device, stack.url)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    kept = page.evaluate(CACHED)
    assert [path for path in kept if path.startswith("/v1") or "job" in path] == []
    static = REPOSITORY / "api" / "static"
    for folder in ("studio", "later", "words"):
        for script in (static / folder).glob("*.js"):
            assert f"/static/{folder}/{script.name}" in kept
    assert {"/", "/static/page.js", "/static/studio.css", "/static/sample.webp"} <= set(kept)


def test_without_its_server_the_page_opens_looks_and_lets_jobs_wait(
    device: BrowserContext, stack: RunningUp
) -> None:
    with relayed(stack.url) as line:
        # Given a page that was open once
        page = opened(device, line.url)
        # When it is opened without the server
        line.down()
        page.goto(line.url)
        expect(page.locator("#choose")).to_be_visible()
        choose(page, a_photo())
        # Then there is a look, which can be saved, and the photo waits over another start
        expect(page.locator("compare-view .after canvas.layer")).to_be_visible()
        assert download(page, "#save-look")[0] == "selfie-preview.png"
        wait_for(page, "failed")
        expect(page.locator("#rows small")).to_contain_text("when the server is back")
        page.reload()
        expect(page.locator("#rows li")).to_have_count(1)
        # And goes by itself when the server is back
        line.up()
        expect(page.locator('#rows li[data-phase="succeeded"]')).to_have_count(1)


def test_shared_photos_are_taken_and_kept_nowhere_else(
    device: BrowserContext, stack: RunningUp
) -> None:
    page = opened(device, stack.url)
    page.evaluate(
        """async () => { const form = new FormData();
          const blob = await (await fetch('static/icon-192.png')).blob();
          form.append('photos', new File([blob], 'gift.png', { type: 'image/png' }));
          await fetch('share', { method: 'POST', body: form, redirect: 'manual' }); }"""
    )
    page.goto(f"{stack.url}/?shared")
    expect(page.locator("#rows b")).to_have_text("gift.png")
    assert page.url == f"{stack.url}/"
    assert "retouch-shared" not in page.evaluate("caches.keys()")
