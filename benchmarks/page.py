"""The page in Chromium: its size, how fast it loads, and how fast a photo is processed.

`python -m benchmarks.page [--rounds 10] [--throttled 3] [--parts speed memory frames]`: the whole
service with the embedded base (`speed`); then its memory over `--jobs 200` photos, with the fake
engine, and the frames while a history of 1,000 pictures scrolls. Times are measured inside the
page, from the user's event to the frame after the visible result. The throttled load uses the
profile of Chromium's own tools: "Slow 4G" (1.44 Mbit/s, 562 ms) and a processor slowed down four
times. 3,500 px are twelve megapixels.
"""

import argparse
import base64
import collections
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.page_memory import memory
from benchmarks.service import photo, running_service
from tests.browser.driving import FILL

PARTS = ["speed", "memory", "frames"]
PATIENCE_MS = 300_000  # a busy machine
ROOT = Path(__file__).parents[1]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
SLOW_4G = {
    "offline": False,
    "latency": 562.5,
    "downloadThroughput": 180_000,
    "uploadThroughput": 84_375,
}
SLOWER_PROCESSOR = 4
# Resolves with the time of the first frame that shows the awaited element.
SEEN = """(() => {
  window.file = (text, name) => new File(
    [Uint8Array.from(atob(text), c => c.charCodeAt(0))], name, { type: 'image/jpeg' });
  window.drop = file => {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    document.body.dispatchEvent(
      new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
    return performance.now();
  };
  window.seen = test => new Promise(done => {
    const look = () => {
      if (!test()) return;
      watch.disconnect();
      requestAnimationFrame(() => setTimeout(() => done(performance.now())));
    };
    const watch = new MutationObserver(look);
    watch.observe(document.querySelector('main'),
      { subtree: true, childList: true, attributes: true, characterData: true });
  });
  window.last = () => [...document.querySelectorAll('compare-view .after .layer')].at(-1);
  window.settled = () => document.getElementById('stage').dataset.phase === 'succeeded';
})()"""
DROP = """async ([text, name]) => {
  const photo = file(text, name);
  const look = seen(() => last() instanceof HTMLCanvasElement);
  const badge = () => document.querySelector('.badge').textContent;
  const small = look.then(() => seen(() => /Small result/.test(badge())));
  const full = look.then(() => seen(() => settled() && last() instanceof HTMLImageElement));
  const began = performance.now();
  drop(photo);
  const times = {};
  const note = (name, promise) => promise.then(at => { times[name] = at - began; });
  await Promise.all([note('look', look), note('full', full),
    Promise.race([note('small', small), full])]);
  return times;
}"""
LET_GO = """async value => {
  const range = document.getElementById('strength-range');
  range.value = value;
  range.dispatchEvent(new Event('input', { bubbles: true }));
  const patch = () => document.querySelector('compare-view .patch');
  const before = patch();
  const shown = seen(() => patch() && patch() !== before);
  const began = performance.now();
  range.dispatchEvent(new Event('change', { bubbles: true }));
  return (await shown) - began;
}"""
FRAME_MS = 1000 / 60
SCROLL = """() => new Promise(done => {
  const between = [];
  let last = performance.now();
  const step = now => {
    between.push(now - last);
    last = now;
    scrollBy(0, 40);
    if (between.length < 180) requestAnimationFrame(step);
    else done(between.slice(1));
  };
  requestAnimationFrame(step);
})"""
LOAD = """() => ({
  paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,
  interactive: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--throttled", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if "speed" in options.parts:
        with opened({}, "--disable-gpu") as (browser, url):
            weight(browser, url)
            throttled(browser, url, options.throttled)
            answers(browser, url, options.rounds)
            super_resolution(browser, url)
            axe(browser, url)
    if {"memory", "frames"} & set(options.parts):
        with opened({"RETOUCH_ENGINE": "fake", "RETOUCH_GUARDS": "off"}) as (browser, url):
            if "memory" in options.parts:
                memory(browser, url, options.jobs)
            if "frames" in options.parts:
                frames(browser, url)
    print(
        f"load average of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )


@contextmanager
def opened(environment: dict[str, str], *switches: str) -> Iterator[tuple[Browser, str]]:
    """Chromium, and the address of a service of its own."""
    chromium = shutil.which("chromium") or "/usr/bin/chromium"
    arguments = ["--no-first-run", *switches]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), environment) as (url, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, chromium_sandbox=False, args=arguments
        )
        yield browser, url
        browser.close()


def weight(browser: Browser, url: str) -> None:
    """Transferred bytes of the first load, by kind."""
    page = browser.new_page()
    done: list[Any] = []
    page.on("requestfinished", lambda request: done.append(request))
    page.goto(url, wait_until="networkidle")
    sizes: dict[str, int] = collections.defaultdict(int)
    for request in done:  # requested afterwards: a waiting handler may be overtaken by the end
        path = request.url.removeprefix(url)
        if not path.startswith("/v1/"):
            sizes[Path(path).suffix or "page"] += request.sizes()["responseBodySize"]
    page.close()
    print(f"first load, compressed: {sum(sizes.values()) / 1024:.1f} KiB {dict(sizes)}")


def throttled(browser: Browser, url: str, rounds: int) -> None:
    """First paint and time to interactive under the tools' profile for a slow phone."""
    found = []
    for _ in range(rounds):
        context = browser.new_context()  # with an empty cache
        page = context.new_page()
        tools = context.new_cdp_session(page)
        tools.send("Network.enable")
        tools.send("Network.emulateNetworkConditions", SLOW_4G)
        tools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER_PROCESSOR})
        page.goto(url, wait_until="load", timeout=120_000)
        page.wait_for_function(
            "() => performance.getEntriesByName('first-contentful-paint').length"
        )
        found.append(page.evaluate(LOAD))
        context.close()
    for name in ("paint", "interactive"):
        show(f"throttled, {name}", [one[name] for one in found])


def answers(browser: Browser, url: str, rounds: int) -> None:
    """From drop to first look, small and full result; from releasing the slider to its preview."""
    page = browser.new_page()
    page.add_init_script(SEEN)
    page.goto(url)
    page.wait_for_timeout(2500)  # anything that the page does when idle
    for side in (512, 3500):
        text = base64.b64encode(photo(side)).decode()
        page.evaluate(DROP, [text, "warm.jpg"])
        times = [page.evaluate(DROP, [text, f"{n}.jpg"]) for n in range(rounds)]
        for name, said in (("look", "first look"), ("small", "128 px"), ("full", "full picture")):
            show(f"{side} px: drop to {said}", [one[name] for one in times if name in one])
        if side == 512:
            page.evaluate(LET_GO, "0.95")
            values = [f"{0.1 + 0.05 * n:.2f}" for n in range(rounds)]
            show("slider let go to preview", [page.evaluate(LET_GO, value) for value in values])
    page.close()


def frames(browser: Browser, url: str) -> None:
    """The time between two frames while a history of a thousand pictures scrolls."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.evaluate(FILL, 1000)
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('#rows li').length === 1000")
    between = page.evaluate(SCROLL)
    late = sum(one > 1.5 * FRAME_MS for one in between) / len(between)
    show("a thousand rows, frame to frame", between)
    print(f"    {late:.1%} of {len(between)} frames were missed")
    page.close()


def super_resolution(browser: Browser, url: str) -> None:
    """The browser's own enlargement of a 256 px photo; this Chromium has no hardware acceleration
    for it.
    """
    page = browser.new_page()
    page.add_init_script("localStorage.setItem('retouch.superres', 'on')")
    page.goto(url)
    if page.evaluate("fetch('/extras.json').then(answer => answer.json())") is None:
        print("super-resolution: not installed")
        return
    page.route("**/v1/images", lambda _: None)
    for n in range(3):
        page.reload()
        page.wait_for_selector("#superres-row:not([hidden])", state="attached")
        jpeg = {"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": photo(256)}
        page.set_input_files("#file", jpeg)  # type: ignore[arg-type]
        page.wait_for_function(
            "() => /Enlarged/.test(document.querySelector('.badge').textContent)", timeout=120_000
        )
    print(f"super-resolution 256 to 512 px: {page.inner_text('.badge')}")
    page.close()


def axe(browser: Browser, url: str) -> None:
    """The problems that axe finds in the empty and in the finished page, in both themes, by their
    impact.
    """
    if not AXE.exists():
        print("axe: not installed (npm ci)")
        return
    found: collections.Counter[str] = collections.Counter()
    for theme in ("light", "dark"):
        context = browser.new_context(color_scheme=theme, bypass_csp=True)  # type: ignore[arg-type]
        page = context.new_page()
        page.add_init_script(SEEN)
        page.goto(url)
        found.update(violations(page))
        page.evaluate(DROP, [base64.b64encode(photo(256)).decode(), "a.jpg"])
        found.update(violations(page))
        context.close()
    print(f"axe, four states: {dict(found) or 'nothing'}")


def violations(page: Page) -> list[str]:
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        "async () => (await axe.run()).violations.map(one => [one.impact, one.id])"
    )
    return [f"{impact}: {name}" for impact, name in found]


def show(
    name: str, milliseconds: list[float], middle: Callable[..., float] = statistics.median
) -> None:
    if not milliseconds:
        print(f"{name}: never seen")
        return
    most, least = max(milliseconds), min(milliseconds)
    print(
        f"{name}: {middle(milliseconds):.0f} ms (of {len(milliseconds)}: {least:.0f} to {most:.0f})"
    )


if __name__ == "__main__":
    main()
