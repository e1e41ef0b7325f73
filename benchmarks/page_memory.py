"""The memory of the page's renderer over many photos, part by part.

A tab that Playwright drives keeps the body of every response for the developer tools, which would
be measured as the page's. This tab is driven by the protocol alone, with nothing recorded.
Parts are those of Chromium's own memory dumps. Decoded pictures are Chromium's cache: it lets go of
them after some minutes, or at once when memory is short, as is shown at the end.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, CDPSession, Page

from benchmarks.service import photo

MIB = 2**20
PATIENCE_S = 300.0  # a busy machine
PARTS = {
    "scripts": "v8",
    "document": "blink_gc",
    "buffers": "partition_alloc",
    "other": "malloc",
    "decoded pictures": "cc/image_memory",
}
DUMP = {
    "includedCategories": ["disabled-by-default-memory-infra"],
    "excludedCategories": ["*"],
    "memoryDumpConfig": {"triggers": []},
}
DONE = """new Promise(done => {
  const look = () => {
    const rows = document.querySelectorAll('#rows li[data-phase="succeeded"] b');
    if ([...rows].some(row => row.textContent === '%s')) done();
    else setTimeout(look, 50);
  };
  look();
})"""


class Tab:
    """A tab in a context of its own, that nothing else is attached to."""

    def __init__(self, tools: CDPSession, clock: Page, url: str) -> None:
        self.tools = tools
        self.clock = clock  # lets messages in while an answer is waited for
        self.numbers = count(1)
        self.answers: dict[int, dict[str, Any]] = {}
        tools.on("Target.receivedMessageFromTarget", self.hear)
        context = tools.send("Target.createBrowserContext")["browserContextId"]
        made = {"url": "about:blank", "browserContextId": context, "width": 1280, "height": 800}
        target = tools.send("Target.createTarget", made)["targetId"]
        attached = {"targetId": target, "flatten": False}
        self.session = tools.send("Target.attachToTarget", attached)["sessionId"]
        self.send("Page.navigate", url=url)
        self.wait("new Promise(done => { if (document.readyState === 'complete') done();"
                  " else addEventListener('load', done); })")  # fmt: skip

    def hear(self, event: dict[str, str]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self.answers[message["id"]] = message

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self.numbers)
        message = json.dumps({"id": number, "method": method, "params": params})
        addressed = {"sessionId": self.session, "message": message}
        self.tools.send("Target.sendMessageToTarget", addressed)
        deadline = time.monotonic() + PATIENCE_S
        while number not in self.answers:
            if time.monotonic() > deadline:
                raise TimeoutError(method)
            self.clock.wait_for_timeout(5)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait(self, expression: str) -> None:
        self.send("Runtime.evaluate", expression=expression, awaitPromise=True)

    def choose(self, path: Path) -> None:
        found = self.send("Runtime.evaluate", expression="document.getElementById('file')")
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def collect(self) -> None:
        """What nobody needs any more is gone; the second time takes what the first set free."""
        for _ in range(2):
            self.send("HeapProfiler.collectGarbage")


def memory(browser: Browser, url: str, jobs: int) -> None:
    """The renderer after every fifth of so many photos, all of which stay in the history."""
    tools = browser.new_browser_cdp_session()
    clock = browser.new_page()
    tab = Tab(tools, clock, url)
    with tempfile.TemporaryDirectory() as folder:
        show(tools, tab, 0)
        for n in range(1, jobs + 1):
            path = Path(folder) / f"{n}.jpg"
            path.write_bytes(photo(256, moved=n))
            tab.choose(path)
            tab.wait(DONE % path.name)
            if n % max(1, jobs // 5) == 0:
                show(tools, tab, n)
        tab.send("Memory.simulatePressureNotification", level="critical")
        clock.wait_for_timeout(3000)
        show(tools, tab, jobs, "after memory was short")
    clock.close()


def show(tools: CDPSession, tab: Tab, photos: int, when: str = "") -> None:
    tab.collect()
    tab.clock.wait_for_timeout(1000)
    pids = processes(tools)
    renderer = max(pids["renderer"], key=resident)
    sizes = dumped(tools, tab.clock, renderer) or dumped(tools, tab.clock, renderer)
    parts = ", ".join(f"{name} {sizes.get(key, 0):.0f}" for name, key in PARTS.items())
    counted = tab.send("Memory.getDOMCounters")
    print(
        f"renderer with {photos} photos{when and ' ' + when}: {resident(renderer):.0f} MiB resident"
        f" ({parts}); {counted['nodes']} nodes, {counted['jsEventListeners']} listeners;"
        f" browser {resident(pids['browser'][0]):.0f} MiB",
        flush=True,
    )


def processes(tools: CDPSession) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in tools.send("SystemInfo.getProcessInfo")["processInfo"]:
        found.setdefault(one["type"], []).append(one["id"])
    return found


def resident(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MIB


def dumped(tools: CDPSession, clock: Page, pid: int) -> dict[str, float]:
    """MiB by part, as Chromium's own dump of this process has them; at times it makes none."""
    events: list[dict[str, Any]] = []
    ended: list[bool] = []

    def gather(event: dict[str, Any]) -> None:
        events.extend(event["value"])

    tools.on("Tracing.dataCollected", gather)
    tools.once("Tracing.tracingComplete", lambda _: ended.append(True))
    tools.send("Tracing.start", {"traceConfig": DUMP, "transferMode": "ReportEvents"})
    tools.send("Tracing.requestMemoryDump", {"levelOfDetail": "detailed"})
    tools.send("Tracing.end")
    while not ended:
        clock.wait_for_timeout(50)
    tools.remove_listener("Tracing.dataCollected", gather)
    of_process = [one["args"]["dumps"] for one in events if one["ph"] == "v" and one["pid"] == pid]
    allocators = [dump["allocators"] for dump in of_process if "allocators" in dump]
    return {name: size(one) for name, one in allocators[-1].items()} if allocators else {}


def size(part: Mapping[str, Any]) -> float:
    return int(part.get("attrs", {}).get("size", {}).get("value", "0"), 16) / MIB
