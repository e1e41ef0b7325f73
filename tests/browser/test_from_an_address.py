"""A photo from an address: offered where the service fetches one, then a photo like any other."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.driving import AXE, FAULTS, download, set_strength, wait_for
from tests.support.http_servers import Quiet, serving
from tests.support.pictures import photo
from tests.support.stack import RunningUp, running_up

PASTE = """text => {
  const clipboardData = new DataTransfer();
  clipboardData.setData('text/plain', text);
  document.dispatchEvent(new ClipboardEvent('paste', { clipboardData, cancelable: true }));
}"""
DROP_LINK = """link => {
  const dataTransfer = new DataTransfer();
  dataTransfer.setData('text/uri-list', link);
  for (const kind of ['dragover', 'drop']) document.body.dispatchEvent(
    new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


class Album(Quiet):
    """Another site with one photo, one page, and nothing else."""

    FILES = {"/my%20selfie.jpg": photo(320, 240), "/page.html": b"<!doctype html><p>No photo."}

    def do_GET(self) -> None:
        body = self.FILES.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")


@pytest.fixture(scope="module")
def album() -> Iterator[str]:
    with serving(Album) as url:
        yield url


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser, album: str
) -> Iterator[RunningUp]:
    """A service that fetches pictures, also from the site above."""
    del browser  # first, so that nothing is started for skipped tests
    settings = {"image_urls": "true", "webhook_hosts": album.removeprefix("http://")}
    folder = tmp_path_factory.mktemp("addresses")
    with running_up(folder, fake_step_seconds="0.05", **settings) as up:
        yield up


def test_a_photo_at_an_address_becomes_a_photo_of_this_page(page: Page, album: str) -> None:
    # When
    page.fill("#address", f"{album}/my%20selfie.jpg")
    page.click("#address-form button")
    # Then it is shown beside its result, under its own name
    wait_for(page, "succeeded")
    expect(page.locator("#rows b")).to_have_text("my selfie.jpg")
    expect(page.locator("#sizes")).to_contain_text("320 × 240")
    expect(page.locator("compare-view .before img").last).to_be_visible()
    assert download(page)[0] == "my selfie-retouched.jpeg"
    # Then it can be tried with other settings, also after a reload
    page.reload()
    wait_for(page, "succeeded")
    with page.expect_request("**/v1/previews"):
        set_strength(page, "0.6")
    page.click("#again")
    expect(page.locator('#rows li[data-phase="succeeded"]')).to_have_count(2)


def test_pasted_and_dropped_links_are_taken_like_files(page: Page, album: str) -> None:
    expect(page.locator("#address")).to_be_visible()
    page.evaluate(PASTE, f"{album}/my%20selfie.jpg and some words")
    expect(page.locator("#rows li")).to_have_count(1)
    page.evaluate(PASTE, "no address")
    page.evaluate(DROP_LINK, f"{album}/my%20selfie.jpg")
    expect(page.locator('#rows li[data-phase="succeeded"]')).to_have_count(2)


def test_the_paste_button_takes_an_address(browser: Browser, stack: RunningUp, album: str) -> None:
    context = browser.new_context(
        permissions=["clipboard-read", "clipboard-write"], service_workers="block"
    )
    page = context.new_page()
    page.goto(stack.url)
    expect(page.locator("#address")).to_be_visible()
    page.evaluate("text => navigator.clipboard.writeText(text)", f"{album}/my%20selfie.jpg")
    page.click("#paste")
    wait_for(page, "succeeded")
    context.close()


@pytest.mark.parametrize(
    ("path", "words"),
    [("/gone.jpg", "from this address"), ("/page.html", "is a web page")],
    ids=["nothing-there", "no-picture"],
)
def test_an_address_without_a_photo_is_said_with_another_way(
    page: Page, album: str, path: str, words: str
) -> None:
    page.fill("#address", album + path)
    page.keyboard.press("Enter")
    wait_for(page, "failed")
    expect(page.locator("#sentence")).to_contain_text(words)
    expect(page.locator("#mend")).to_have_text("Choose another photo")


def test_where_the_service_fetches_nothing_no_address_is_asked_for(
    context: BrowserContext, stack: RunningUp
) -> None:
    page = context.new_page()
    page.route(
        "**/v1/capabilities",
        lambda route: route.fulfill(json=route.fetch().json() | {"image_urls": False}),
    )
    with page.expect_response("**/v1/capabilities"):
        page.goto(stack.url, wait_until="networkidle")
    expect(page.locator("#choose")).to_be_visible()
    expect(page.locator("#address")).to_have_count(0)


def test_axe_finds_nothing_serious_where_an_address_is_asked_for(
    browser: Browser, stack: RunningUp, album: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there (npm ci)")
    context = browser.new_context(bypass_csp=True, reduced_motion="reduce")
    page = context.new_page()
    page.goto(stack.url)
    expect(page.locator("#address")).to_be_visible()
    page.add_script_tag(path=AXE)
    assert page.evaluate(FAULTS) == []
    page.fill("#address", f"{album}/gone.jpg")
    page.keyboard.press("Enter")
    wait_for(page, "failed")
    assert page.evaluate(FAULTS) == []
    context.close()
