"""The page by keyboard, by screen reader, in two languages and themes, at every width, light."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.driving import a_photo, choose, wait_for
from tests.support.stack import RunningUp

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "api" / "static"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
MOST_BYTES = 150 * 1024
FAULTS = """async () => (await axe.run()).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .map(found => `${found.id}: ${found.nodes.map(node => node.target).join(', ')}`)"""


def words() -> dict[str, tuple[str, str]]:
    """The catalogue's keys with their English and Chinese."""
    text = (STATIC / "studio" / "words.js").read_text("utf-8")
    found = re.findall(r'^  (\w+): \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\],$', text, re.M)
    return {key: (english, chinese) for key, english, chinese in found}


def test_every_word_that_the_page_says_is_there_in_both_languages() -> None:
    catalogue = words()
    html = (STATIC / "index.html").read_text("utf-8")
    scripts = "".join(path.read_text("utf-8") for path in STATIC.rglob("*.js"))
    used = set(re.findall(r'data-say(?:-label)?="(\w+)"', html))
    used |= set(re.findall(r'say\("(\w+)"', scripts))
    assert used - set(catalogue) == set()
    assert all(english and chinese for english, chinese in catalogue.values())


def test_the_types_of_the_scripts_hold() -> None:
    tsc = ROOT / "node_modules" / ".bin" / "tsc"
    if not tsc.exists():
        pytest.skip("TypeScript is not there (npm ci)")
    done = subprocess.run(
        [tsc, "-p", STATIC / "jsconfig.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_module_is_asked_for_at_once() -> None:
    html = (STATIC / "index.html").read_text("utf-8")
    named = set(re.findall(r'modulepreload" href="static/studio/([\w-]+\.js)"', html))
    assert named == {path.name for path in (STATIC / "studio").glob("*.js")}


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
    # Samples are the operator's pictures, and come when the page is there.
    assert sum(size for url, size in sent.items() if not url.endswith("/sample")) < MOST_BYTES
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
    expect(page.locator("lora-cards .card")).not_to_have_count(0)
    page.add_script_tag(path=AXE)
    assert page.evaluate(FAULTS) == []
    choose(page, a_photo())
    wait_for(page, "running", "succeeded")
    assert page.evaluate(FAULTS) == []
    wait_for(page, "succeeded")
    page.click("#more summary")
    assert page.evaluate(FAULTS) == []
    page.click("#code")
    assert page.evaluate(FAULTS) == []
    page.click("#code-close")
    choose(page, {"name": "a.txt", "mimeType": "text/plain", "buffer": b"not a picture"})
    wait_for(page, "failed")
    assert page.evaluate(FAULTS) == []
    context.close()


def test_everything_is_done_by_keyboard(page: Page) -> None:
    # Given the file dialog answered as a person would
    def press_until(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
                return
        raise AssertionError(f"Tab never reaches {selector}")

    press_until("#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([a_photo()])
    wait_for(page, "succeeded")
    # When comparing by keys
    page.keyboard.press("2")
    expect(page.locator("compare-view")).to_have_attribute("data-mode", "side")
    page.keyboard.press("3")
    press_until(".frame")
    page.keyboard.down("Space")
    expect(page.locator("compare-view")).to_have_class(re.compile(r"\bheld\b"))
    page.keyboard.up("Space")
    expect(page.locator("compare-view")).not_to_have_class(re.compile(r"\bheld\b"))
    page.keyboard.press("1")
    page.keyboard.press("+")
    expect(page.locator("compare-view")).to_have_class(re.compile(r"\bzoomed\b"))
    page.keyboard.press("0")
    press_until(".split")
    page.keyboard.press("Home")
    expect(page.locator(".split")).to_have_value("0")
    # Then the picture can be had, and settings changed
    press_until("#save")
    with page.expect_download():
        page.keyboard.press("Enter")
    press_until("#strength-range")
    page.keyboard.press("End")
    press_until(".card input[value=none]")
    page.keyboard.press("Space")
    expect(page.locator(".card input[value=none]")).to_be_checked()
    expect(page.locator(".card input[value=none]")).to_be_focused()


def test_a_screen_reader_is_told_of_each_stage(page: Page) -> None:
    page.evaluate(
        """() => { window.heard = []; const node = document.getElementById('announcer');
          new MutationObserver(() => window.heard.push(node.textContent))
            .observe(node, { childList: true }); }"""
    )
    page.locator("#strength-range").fill("1")
    choose(page, a_photo())
    wait_for(page, "succeeded")
    heard = page.evaluate("window.heard")
    assert "Done" in heard
    assert any(text.endswith(" %") for text in heard)
    assert len(heard) < 20


def test_language_and_theme_are_switched_and_remembered(page: Page) -> None:
    page.click("#language")
    expect(page.locator("#choose")).to_have_text("选择照片")
    expect(page.locator(".card b").first).to_have_text("自动选择")
    page.click("#theme")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.click("#language")
    expect(page.locator("#choose")).to_have_text("Choose photos")


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    choose(page, a_photo("a-very-long-name-" * 8 + ".jpg"))
    wait_for(page, "succeeded")
    page.click("#more summary")
    for mode in "123":
        page.keyboard.press(mode)
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert beyond <= 0
