"""What goes wrong on the way, said in a sentence with one button that does the advice."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from shared.errors import ERRORS
from tests.browser.driving import a_photo, choose, download, prefer, wait_for
from tests.support.pictures import photo
from tests.support.stack import RunningUp, running_up

# What the service says of these is about this very file.
SPECIFIC = {"unsupported_media_type", "image_too_large", "image_too_small"}
KEY = "a-key-of-the-tests-0123456789"


def refusing_once(
    page: Page, pattern: str, status: int, code: str, **headers: str
) -> Callable[[], list[str]]:
    """Refuse the first POST with this problem; gives the bodies of all of them."""
    bodies: list[str] = []

    def answer(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        sent = route.request.post_data_buffer or b""
        bodies.append(sent.decode("utf-8", "replace"))
        if len(bodies) > 1:
            route.continue_()
            return
        problem = {"code": code, "detail": f"Said of {code}.", "advice": "Do this."}
        route.fulfill(
            status=status,
            headers=headers,
            content_type="application/problem+json",
            body=json.dumps(problem),
        )

    page.route(pattern, answer)
    return lambda: bodies


@pytest.mark.parametrize(
    ("code", "button", "then"),
    [
        ("image_too_blurry", "Continue anyway", 'name="force"\r\n\r\ntrue'),
        ("lora_base_mismatch", "Choose automatically", 'name="lora"\r\n\r\nauto'),
        ("image_not_found", "Send it again", 'name="image_id"'),
        ("validation_error", "Reset the settings and try again", 'name="image_id"'),
        ("internal_error", "Try again", 'name="image_id"'),
    ],
)
def test_a_refusal_says_why_and_its_button_does_the_advice(
    page: Page, code: str, button: str, then: str
) -> None:
    # Given
    bodies = refusing_once(page, "**/v1/jobs", 422, code)
    # When
    choose(page, a_photo())
    # Then
    expect(page.locator("#sentence")).not_to_be_empty()
    assert "Said of" not in page.inner_text("#sentence")  # in the page's own words
    expect(page.locator("#mend")).to_have_text(button)
    page.click("#mend")
    wait_for(page, "succeeded")
    assert then in bodies()[1]


@pytest.mark.parametrize(("locale", "turn"), [("en-US", 0), ("zh-CN", 1)])
def test_every_error_has_its_sentence_and_a_button_without_a_word_of_the_protocol(
    browser: Browser, stack: RunningUp, locale: str, turn: int
) -> None:
    # Given a service that refuses with each code in turn, in its own words
    context = browser.new_context(locale=locale, reduced_motion="reduce")
    page = context.new_page()
    code = ""

    def refuse(route: Route) -> None:
        problem = {"code": code, "detail": "force=true", "advice": "Authorization: Bearer KEY"}
        kind = "application/problem+json"
        route.fulfill(status=422, content_type=kind, body=json.dumps(problem))

    page.route("**/v1/jobs", refuse)
    page.route("**/v1/images", lambda route: route.fulfill(status=201, json={"id": "0" * 64}))
    page.goto(stack.url)
    for code in sorted(ERRORS)[turn::2]:
        if code in SPECIFIC:
            continue
        # When
        choose(page, a_photo(f"{code}.jpg"))
        expect(page.locator("#rows b").first).to_have_text(f"{code}.jpg")
        wait_for(page, "failed")
        # Then
        said = page.inner_text("#sentence")
        assert len(said) > 5, code
        assert not re.search(r"^e_|=|Bearer|API|GET |POST |\d{3}", said), code
        expect(page.locator("#mend")).to_be_visible()
        assert not page.inner_text("#mend").startswith("do_")
        page.locator(".remove").first.click()
        expect(page.locator("#rows li")).to_have_count(0)
    context.close()


def test_every_code_of_the_service_is_known_to_the_page(page: Page) -> None:
    known = page.evaluate(
        """async codes => {
          const { isKnown, sentenceFor } = await import('/static/studio/remedy.js');
          const words = (await import('/static/words/en.js')).default;
          return codes.filter(code => !isKnown(code) || !words[sentenceFor(code)]); }""",
        sorted(ERRORS),
    )
    assert known == []


def test_the_sentence_of_an_error_changes_with_the_language(page: Page) -> None:
    refusing_once(page, "**/v1/jobs", 422, "image_blank")
    choose(page, a_photo())
    expect(page.locator("#sentence")).to_contain_text("only one colour")
    page.select_option("#language", "zh")
    expect(page.locator("#sentence")).to_contain_text("只有一种颜色")
    expect(page.locator("#mend")).to_have_text("仍然继续")


def test_what_passes_is_tried_again_by_itself(page: Page) -> None:
    bodies = refusing_once(page, "**/v1/jobs", 503, "queue_full", **{"Retry-After": "1"})
    choose(page, a_photo())
    expect(page.locator("#mend")).to_contain_text("Try again (")
    wait_for(page, "succeeded")
    assert len(bodies()) == 2


def test_a_photo_that_is_too_large_is_scaled_by_the_button(page: Page) -> None:
    # Given
    refusing_once(page, "**/v1/images", 413, "payload_too_large")
    large = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": photo(1600, 800)}
    choose(page, large)  # type: ignore[arg-type]
    expect(page.locator("#mend")).to_have_text("Scale to 800 and try again")
    # When
    page.click("#mend")
    wait_for(page, "succeeded")
    # Then
    sent = page.locator("compare-view .before img").last
    expect(sent).to_have_js_property("naturalWidth", 800)


def test_a_file_that_is_no_picture_is_refused_and_its_name_is_shown_as_text(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    choose(page, {"name": name, "mimeType": "text/plain", "buffer": b"not a picture"})
    expect(page.locator("#sentence")).to_contain_text("in no known picture format")
    expect(page.locator("#mend")).to_have_text("Choose another photo")
    expect(page.locator("#rows b")).to_have_text(name)
    with page.expect_file_chooser():
        page.click("#mend")


def test_a_picture_that_is_too_small_is_refused(page: Page) -> None:
    choose(page, a_photo(width=8, height=8))
    expect(page.locator("#mend")).to_have_text("Choose another photo")
    expect(page.locator("#sentence")).to_contain_text("less than 16 pixels")


def test_a_lost_connection_is_said_and_got_over(page: Page) -> None:
    # Given
    page.context.set_offline(True)
    expect(page.locator("#notice")).to_contain_text("The connection is lost")
    choose(page, a_photo())
    expect(page.locator("#sentence")).to_contain_text("does not answer")
    expect(page.locator("#notice")).to_be_visible()
    # When
    page.context.set_offline(False)
    # Then
    expect(page.locator("#notice")).to_be_hidden()
    wait_for(page, "succeeded")


def test_a_restarted_server_finishes_the_job_that_the_page_follows(
    context: BrowserContext, tmp_path: Path
) -> None:
    # Given a job in its middle
    slow = {"fake_step_seconds": "0.6", "grace_seconds": "0.5"}
    page = context.new_page()
    with running_up(tmp_path, **slow) as up:
        page.goto(up.url)
        prefer(page, 1)
        choose(page, a_photo())
        wait_for(page, "running")
        # When
        assert up.end(seconds=40) == 0
        expect(page.locator("#notice")).to_contain_text("The connection is lost")
        port = int(up.url.rpartition(":")[2])
    # Then
    with running_up(tmp_path, "--port", str(port), fake_step_seconds="0.1"):
        wait_for(page, "succeeded")
        expect(page.locator("#notice")).to_be_hidden()
        assert download(page)[1].startswith(b"\xff\xd8")  # a JPEG comes back as one


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[RunningUp]:
    """A service with keys, and with limits of its own."""
    del browser  # first, so that nothing is started for skipped tests
    folder = tmp_path_factory.mktemp("locked")
    with running_up(folder, api_keys=f"me={KEY}", max_side="800", max_loras="2") as up:
        yield up


def test_a_service_with_keys_asks_for_one_and_events_go_by_ticket(
    browser: Browser, locked: RunningUp
) -> None:
    # Given
    context = browser.new_context(locale="en-US", accept_downloads=True)
    page = context.new_page()
    page.goto(locked.url)
    choose(page, a_photo())
    expect(page.locator("#sentence")).to_contain_text("needs a key")
    # When
    page.click("#mend")
    page.fill("#key", KEY)
    with page.expect_request(lambda request: "/events?ticket=" in request.url):
        page.keyboard.press("Enter")
    # Then
    wait_for(page, "succeeded")
    assert KEY not in page.url
    context.close()


def test_with_a_key_the_page_asks_again_what_is_offered_without_a_reload(
    browser: Browser, locked: RunningUp
) -> None:
    # Given photos that were refused, of which one is beyond the limits that only a key tells
    context = browser.new_context(locale="en-US", service_workers="block")
    page = context.new_page()
    page.goto(locked.url)
    large = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": photo(1600, 1200)}
    choose(page, large, a_photo("small.jpg"))  # type: ignore[arg-type]
    expect(page.locator('#rows li[data-phase="failed"]')).to_have_count(2)
    expect(page.locator(".card")).to_have_count(1)
    # When a wrong key is entered, and then the right one
    page.click("#mend")
    page.fill("#key", "not-a-key-of-this-service")
    page.keyboard.press("Enter")
    expect(page.locator("#sentence")).to_have_text("The service does not know this key.")
    page.click("#mend")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    # Then all of them are made, within the limits
    expect(page.locator('#rows li[data-phase="succeeded"]')).to_have_count(2)
    expect(page.locator("#why")).to_contain_text("scaled from 1,600 × 1,200")
    expect(page.locator("#sizes")).to_contain_text("800 × 600")
    # And the settings are those of the service
    expect(page.locator(".card")).to_have_count(6)
    expect(page.locator("[name=steps]")).to_have_attribute("placeholder", "10")
    page.click(".all summary")
    for _ in range(3):
        page.locator(".all .row:not(.off) input:not([value=none]):not(:checked)").first.click()
    expect(page.locator("#toast")).to_contain_text("At most 2 at once")
    context.close()


def test_the_sentence_of_a_failed_job_is_in_the_page_s_language(
    browser: Browser, stack: RunningUp
) -> None:
    # Given a page in Chinese
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(stack.url)
    # When
    choose(page, {"name": "a.txt", "mimeType": "text/plain", "buffer": b"not a picture"})
    # Then
    expect(page.locator("#sentence")).to_contain_text("无法识别")
    expect(page.locator("#mend")).to_have_text("换一张照片")
    context.close()
