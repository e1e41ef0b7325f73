"""Super-resolution in the browser: hidden without its files, off where it is slow, and right."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from shared.settings import REPOSITORY
from tests.browser.driving import a_photo, choose, wait_for
from tests.support.stack import RunningUp

MANIFEST = REPOSITORY / "api" / "static" / "extra" / "manifest.json"
ASSETS = REPOSITORY / "node_modules" / "@upscalerjs" / "esrgan-slim" / "assets"
PIXELS = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  copy.getContext('2d').drawImage(canvas, 0, 0);
  return copy.convertToBlob({ type: 'image/png' }).then(blob => new Promise(done => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(',')[1]);
    reader.readAsDataURL(blob);
  }));
}"""
needs_files = pytest.mark.skipif(not MANIFEST.exists(), reason="not installed (make extras)")


@pytest.fixture
def waiting(page: Page) -> Page:
    """A page whose uploads do not go through, so that the first look stays."""
    page.route("**/v1/images", lambda _: None)
    return page


def test_without_its_files_nothing_is_said_of_it(page: Page, stack: RunningUp) -> None:
    page.route(
        "**/extras.json", lambda route: route.fulfill(content_type="application/json", body="null")
    )
    with page.expect_response("**/extras.json"):
        page.goto(stack.url)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    expect(page.locator("#superres-row")).to_be_hidden()


@needs_files
def test_where_it_is_slow_nothing_is_loaded_until_it_is_asked_for(waiting: Page) -> None:
    # Given a device without hardware for it
    loaded: list[str] = []
    waiting.on("request", lambda request: loaded.append(request.url))
    choose(waiting, a_photo())
    wait_for(waiting, "uploading")
    waiting.click("#more summary")
    expect(waiting.locator("#superres-row")).to_be_visible()
    expect(waiting.locator("#superres")).not_to_be_checked()
    expect(waiting.locator(".badge")).to_contain_text("Sharpened on this device")
    assert [url for url in loaded if "/extra/" in url] == []
    # When
    waiting.check("#superres")
    # Then the best that is there does it, and says which
    expect(waiting.locator(".badge")).to_contain_text("Enlarged on this device")
    expect(waiting.locator(".badge")).to_contain_text("WebAssembly")
    assert waiting.evaluate("crossOriginIsolated")
    expect(waiting.locator("compare-view .after canvas").last).to_have_js_property("width", 320)


@needs_files
def test_the_browser_makes_the_package_s_own_picture(waiting: Page) -> None:
    # When
    choose(waiting, ASSETS / "fixture.png")
    waiting.click("#more summary")
    waiting.check("#superres")
    expect(waiting.locator(".badge")).to_contain_text("Enlarged on this device")
    # Then
    canvas = waiting.locator("compare-view .after canvas").last
    made = Image.open(io.BytesIO(base64.b64decode(canvas.evaluate(PIXELS)))).convert("RGB")
    wanted = Image.open(ASSETS / "samples" / "2x" / "result.png").convert("RGB")
    off = np.abs(np.asarray(made, np.int16) - np.asarray(wanted, np.int16))
    assert off.max() <= 1
    assert off.mean() < 0.01


@needs_files
def test_an_engine_that_fails_is_left_for_the_first_look(waiting: Page) -> None:
    root = json.loads(MANIFEST.read_text())["root"]
    waiting.route(f"**{root}*.wasm", lambda route: route.abort())
    choose(waiting, a_photo())
    waiting.click("#more summary")
    waiting.check("#superres")
    expect(waiting.locator("#superres-note")).to_contain_text("did not work")
    expect(waiting.locator(".badge")).to_contain_text("Sharpened on this device")
    expect(waiting.locator("#superres")).not_to_be_checked()
