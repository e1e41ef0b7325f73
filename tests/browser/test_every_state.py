"""What somebody saw who looked at every state of the page: each is as it should be."""

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.browser.driving import a_photo, choose, take_long, wait_for
from tests.browser.test_for_everybody import LANGUAGES
from tests.support.stack import RunningUp

NARROW = (120, 360)
LETTER: FilePayload = {"name": "letter.docx", "mimeType": "text/plain", "buffer": b"no picture"}
# Whether a box lies over the picture with a part of it only, by half a pixel or more.
STRADDLES = """(node) => {
  const box = node.getBoundingClientRect();
  const picture = document.querySelector('compare-view .after .moved').getBoundingClientRect();
  const isWithin = box.left >= picture.left - 0.5 && box.right <= picture.right + 0.5;
  const isBeside = box.right <= picture.left + 0.5 || box.left >= picture.right - 0.5;
  return !isWithin && !isBeside;
}"""
# Lets one see whether a card that showed the photo is ever without it again.
WATCH_CARDS = """() => {
  window.blanks = 0;
  const node = document.getElementById('treatments');
  new MutationObserver(() => { blanks += node.querySelectorAll('.card .swatch:empty').length; })
    .observe(node, { childList: true, subtree: true });
}"""
LINES = (
    """all => all.map(node => node.offsetHeight / parseFloat(getComputedStyle(node).lineHeight))"""
)


def glides(page: Page) -> str:
    """How long the bar of the progress takes to grow; it is in the browser's own part."""
    tools = page.context.new_cdp_session(page)
    for domain in ("DOM", "CSS"):
        tools.send(f"{domain}.enable")
    nodes = [tools.send("DOM.getDocument", {"depth": -1, "pierce": True})["root"]]
    while "-webkit-progress-value" not in nodes[-1].get("attributes", []):
        node = nodes.pop()
        nodes += node.get("children", []) + node.get("shadowRoots", [])
    asked = {"nodeId": nodes[-1]["nodeId"]}
    styles = tools.send("CSS.getComputedStyleForNode", asked)["computedStyle"]
    return next(str(one["value"]) for one in styles if one["name"] == "transition-duration")


@pytest.mark.parametrize(
    ("width", "height"), [(390, 844), (820, 1180), (844, 390), (1280, 800), (1920, 1080)]
)
def test_the_first_screen_fills_the_window_and_no_more(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    end = page.locator("#empty").evaluate("node => node.getBoundingClientRect().bottom")
    assert end == pytest.approx(height, abs=12)
    assert page.evaluate("document.documentElement.scrollHeight") <= height
    expect(page.locator("#choose")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
def test_what_lies_over_a_picture_lies_beside_one_that_is_too_narrow(
    page: Page, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    choose(page, a_photo("narrow.jpg", *NARROW))
    wait_for(page, "succeeded")
    page.locator(".frame").press("l")
    for name in (".before-tag", ".after-tag", ".loupe"):
        node = page.locator(f"compare-view {name}")
        expect(node).to_be_visible()
        assert not node.evaluate(STRADDLES), name


def test_a_tall_photo_is_compared_in_columns_on_a_phone_and_a_wide_one_in_rows(
    page: Page,
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for photo, are_columns in ((a_photo("tall.jpg", *NARROW), True), (a_photo(), False)):
        choose(page, photo)
        wait_for(page, "succeeded")
        page.locator(".frame").press("2")
        before, after = (
            page.locator(f".pane.{name}").bounding_box() for name in ("before", "after")
        )
        assert before is not None
        assert after is not None
        assert (before["y"] == after["y"]) == are_columns


def test_progress_does_not_glide_where_motion_is_unwelcome(
    browser: Browser, stack: RunningUp, page: Page
) -> None:
    moving = browser.new_context(reduced_motion="no-preference", service_workers="block")
    other = moving.new_page()
    other.goto(stack.url)
    assert (glides(other), glides(page)) == ("0.25s", "0s")
    moving.close()


@pytest.mark.parametrize(("tag", "script"), [("ja", r"[\u3040-\u30ff]"), ("es", r"[áéíóú¿]|foto")])
def test_only_details_are_in_another_language_than_the_page(
    page: Page, tag: str, script: str
) -> None:
    page.select_option("#language", tag)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    expect(page.locator("#why")).to_be_empty()
    page.click("#outcome summary")
    expect(page.locator("#facts [lang=en]")).to_contain_text("The photo")
    choose(page, LETTER)
    wait_for(page, "failed")
    for place in ("#sentence", "#rows small >> nth=0"):
        text = page.inner_text(place)
        assert re.search(script, text), text
        assert "JPEG" in text


def test_a_file_that_is_no_photo_says_what_to_do_also_in_its_row(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, LETTER)
    wait_for(page, "failed")
    said = page.inner_text("#sentence")
    assert said.endswith("choose a photo, such as a JPEG, PNG, WebP, HEIC, AVIF or TIFF.")
    row = page.locator("#rows small").first
    expect(row).to_have_text(said)
    assert row.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_the_cards_show_the_photo_until_there_is_something_newer(page: Page) -> None:
    take_long(page, 8)
    choose(page, a_photo())
    expect(page.locator(".card img")).to_have_count(6)
    page.evaluate(WATCH_CARDS)
    wait_for(page, "succeeded")
    page.wait_for_timeout(1500)  # tried again on the finished photo
    assert page.evaluate("blanks") == 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_on_a_card_is_broken(page: Page, language: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.select_option("#language", language)
    choose(page, a_photo())
    expect(page.locator(".card")).to_have_count(6)
    assert max(page.locator(".card b").evaluate_all(LINES)) < 1.5
