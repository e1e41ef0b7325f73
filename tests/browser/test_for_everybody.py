"""The page by keyboard, by screen reader, in two languages and themes, at every width, light."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.driving import AXE, FAULTS, a_photo, beyond, choose, prefer, wait_for
from tests.support.stack import RunningUp

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "api" / "static"
MOST_BYTES = 90 * 1024


def words(language: str) -> dict[str, str]:
    """The texts of one language, by key."""
    text = (STATIC / "words" / f"{language}.js").read_text("utf-8")
    found = re.findall(r'^  (\w+): "((?:[^"\\]|\\.)*)",$', text, re.M)
    assert len(found) == text.count("\n  "), "a line that this test cannot read"
    return dict(found)


LANGUAGES = sorted(path.stem for path in (STATIC / "words").glob("*.js"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_there_in_every_language_with_the_same_blanks(language: str) -> None:
    blanks = {key: set(re.findall(r"{\w+}", text)) for key, text in words("en").items()}
    own = {key: set(re.findall(r"{\w+}", text)) for key, text in words(language).items()}
    assert own == blanks
    assert all(words(language).values())


def test_every_text_that_the_page_asks_for_is_there() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    scripts = "".join(path.read_text("utf-8") for path in STATIC.rglob("*.js"))
    used = set(re.findall(r'data-say(?:-label|-alt)?="(\w+)"', html))
    used |= set(re.findall(r'say\("(\w+)"', scripts))
    assert used - set(words("en")) == set()


def test_the_page_offers_each_language_that_has_a_file() -> None:
    text = (STATIC / "studio" / "words.js").read_text("utf-8")
    offered = re.search(r"LANGUAGES = {(.*)}", text)
    assert offered
    assert sorted(re.findall(r"(\w+):", offered[1])) == LANGUAGES


def test_the_types_of_the_scripts_hold() -> None:
    tsc = ROOT / "node_modules" / ".bin" / "tsc"
    if not tsc.exists():
        pytest.skip("TypeScript is not there (npm ci)")
    done = subprocess.run(
        [tsc, "-p", STATIC / "jsconfig.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_what_is_hidden_at_first_has_its_texts_in_the_languages_alone() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    hidden = html[html.index('id="side"') :]
    assert re.findall(r'data-say="\w+"[^>]*>[^<]+<', hidden) == []


def test_every_module_is_asked_for_at_once() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    named = set(re.findall(r'modulepreload" href="static/studio/([\w-]+\.js)"', html))
    assert named == {path.name for path in (STATIC / "studio").glob("*.js")}
    assert 'modulepreload" href="static/words/en.js"' in html


def test_the_first_load_is_light_and_from_this_host_alone(
    browser: Browser, stack: RunningUp
) -> None:
    context = browser.new_context()
    page = context.new_page()
    done: list[Request] = []
    page.on("requestfinished", lambda request: done.append(request))
    page.goto(stack.url, wait_until="networkidle")
    weights = {request.url: request.sizes()["responseBodySize"] for request in done}
    modules = len(list((STATIC / "studio").glob("*.js")))
    assert sum("/studio/" in url and url.endswith(".js") for url in weights) == modules
    sent = {url: size for url, size in weights.items() if not url.startswith("blob:")}
    assert {urlsplit(url).netloc for url in sent} == {urlsplit(stack.url).netloc}
    # What is below later/ comes when the page is there, and only what is needed of it.
    assert sum(size for url, size in sent.items() if "/later/" not in url) < MOST_BYTES
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(
    browser: Browser, stack: RunningUp, theme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there (npm ci)")
    # A context of its own may step round the page's policy, to bring axe in.
    context = browser.new_context(
        color_scheme=theme,  # type: ignore[arg-type]
        bypass_csp=True,
        reduced_motion="reduce",
        locale="en-US",
    )
    page = context.new_page()
    page.goto(stack.url)
    expect(page.locator("#choose")).to_be_visible()
    page.add_script_tag(path=AXE)
    assert page.evaluate(FAULTS) == []
    choose(page, a_photo())
    wait_for(page, "running", "succeeded")
    assert page.evaluate(FAULTS) == []
    wait_for(page, "succeeded")
    page.click("#more summary")
    assert page.evaluate(FAULTS) == []
    page.click("#outcome summary")
    page.click(".all summary")
    page.click("#loupe-button")
    assert page.evaluate(FAULTS) == []
    page.click("#code")
    assert page.evaluate(FAULTS) == []
    page.click("#code-close")
    page.click("#only-here")
    assert page.evaluate(FAULTS) == []
    page.click("#brush-done")
    page.click("#grid")
    assert page.evaluate(FAULTS) == []
    page.click("#grid-close")
    page.click("#keys")
    assert page.evaluate(FAULTS) == []
    page.keyboard.press("Escape")
    choose(page, {"name": "a.txt", "mimeType": "text/plain", "buffer": b"not a picture"})
    wait_for(page, "failed")
    assert page.evaluate(FAULTS) == []
    context.close()


def test_everything_is_done_by_keyboard(page: Page) -> None:
    # Given the file dialog answered as a person would
    def press_until(selector: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return
        raise AssertionError(f"{key} never reaches {selector}")

    def press_back_until(selector: str) -> None:
        press_until(selector, "Shift+Tab")

    press_until("#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([a_photo()])
    wait_for(page, "succeeded")
    # Then the focus is on what a person does next
    expect(page.locator("#save")).to_be_focused()
    with page.expect_download():
        page.keyboard.press("Enter")
    # And settings are changed
    press_until(".card input[value=auto]")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card input[value=face_restore_tiny]")).to_be_checked()
    expect(page.locator(".card input[value=face_restore_tiny]")).to_be_focused()
    press_until("#strength-range")
    page.keyboard.press("End")
    press_until("[name=upscale]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[name=upscale][value='1']")).to_be_checked()
    # And compared
    press_back_until(".frame")
    page.keyboard.press("2")
    expect(page.locator("compare-view")).to_have_attribute("data-mode", "side")
    page.keyboard.press("3")
    page.keyboard.down("Space")
    expect(page.locator("compare-view")).to_have_class(re.compile(r"\bheld\b"))
    page.keyboard.up("Space")
    expect(page.locator("compare-view")).not_to_have_class(re.compile(r"\bheld\b"))
    page.keyboard.press("1")
    page.keyboard.press("+")
    expect(page.locator("compare-view")).to_have_class(re.compile(r"\bzoomed\b"))
    page.keyboard.press("0")
    page.keyboard.press("l")
    expect(page.locator(".loupe")).to_be_visible()
    press_until(".split")
    page.keyboard.press("Home")
    expect(page.locator(".split")).to_have_value("0")


def test_a_screen_reader_is_told_of_each_stage(page: Page) -> None:
    page.evaluate(
        """() => { window.heard = []; const node = document.getElementById('announcer');
          new MutationObserver(() => window.heard.push(node.textContent))
            .observe(node, { childList: true }); }"""
    )
    prefer(page, 1)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    heard = page.evaluate("window.heard")
    assert "Done" in heard
    assert any(text.endswith(" %") for text in heard)
    assert len(heard) < 20


def test_language_and_theme_are_switched_and_remembered(page: Page) -> None:
    page.select_option("#language", "zh")
    expect(page.locator("#choose")).to_have_text("选择照片")
    page.click("#theme")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.select_option("#language", "en")
    expect(page.locator("#choose")).to_have_text("Choose photos")


def test_everything_is_said_anew_when_the_language_changes(page: Page) -> None:
    choose(page, a_photo())
    wait_for(page, "succeeded")
    page.select_option("#language", "zh")
    expect(page.locator(".card b").first).to_have_text("自动")
    expect(page.locator("#why")).to_contain_text("照片")
    assert not re.search(r"[A-Za-z]{4,}", page.inner_text("#panel").replace("JPEG", ""))
    assert "。 " not in page.inner_text("body")  # Chinese sentences stand without a space
    page.click("#keys")
    expect(page.locator("#keys-list kbd", has_text="空格")).to_be_visible()


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    assert beyond(page) <= 0
    choose(page, a_photo("a-very-long-name-" * 8 + ".jpg"))
    wait_for(page, "succeeded")
    page.click("#more summary")
    for mode in "123":
        page.locator(".frame").press(mode)
        assert beyond(page) <= 0


# Controls of which a part is beyond the screen's sides, or cut off by a box around.
CUT_OFF = """() => {
  const OVER = '.frame, .print'; // what lies over a picture may be larger than it
  const shown = [...document.querySelectorAll('button, a, select, input, textarea, summary')]
    .filter(node => node.checkVisibility({ visibilityProperty: true }) && !node.closest('.skip'));
  const isCut = node => {
    const box = node.getBoundingClientRect();
    if (box.left < -0.5 || box.right > innerWidth + 0.5) return true;
    for (let outer = node.parentElement; outer !== document.body; outer = outer.parentElement) {
      const edges = outer.getBoundingClientRect();
      const isOpen = getComputedStyle(outer).overflowX === 'visible' || outer.matches(OVER);
      if (!isOpen && (box.left < edges.left - 0.5 || box.right > edges.right + 0.5)) return true;
    }
    return node.scrollWidth > node.clientWidth + 1 && node.matches('button:not(.opener)');
  };
  return shown.filter(isCut).map(node => node.id || node.textContent || node.outerHTML);
}"""


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_a_phone_no_control_is_cut_off_in_any_language(page: Page, language: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.select_option("#language", language)
    expect(page.locator("html")).to_have_attribute("lang", re.compile(language))
    assert page.evaluate(CUT_OFF) == []
    choose(page, a_photo("a-very-long-name-" * 8 + ".jpg"))
    assert page.evaluate(CUT_OFF) == []
    wait_for(page, "succeeded")
    page.click("#more summary")
    page.click(".all summary")
    page.click("#outcome summary")
    page.select_option("#save-format", "jpeg")
    for mode in "123":
        page.locator(".frame").press(mode)
        assert page.evaluate(CUT_OFF) == []
    page.click("#only-here")
    assert page.evaluate(CUT_OFF) == []
    page.click("#brush-done")
    for opener, closer in (("#code", "#code-close"), ("#grid", "#grid-close")):
        page.click(opener)
        expect(page.locator(closer)).to_be_visible()
        assert page.evaluate(CUT_OFF) == []
        page.click(closer)
