"""Chromium, a page in it, and the service that serves the page.

Without Chromium these tests are skipped on a laptop and fail if `CI` is set.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxies import NAME
from tests.support.stack import RunningUp, running_up

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
HERE = Path(__file__).parent
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
]

try:
    from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

    expect.set_options(timeout=30_000)
except ImportError:  # pragma: no cover
    sync_playwright = None  # type: ignore[assignment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A browser beside a whole stack, on a machine that may be busy with other tests.
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """One Chromium per module, without any user's profile.

    Playwright keeps an event loop in the main thread while it runs, so it must not outlive the
    tests that use it: others start loops of their own.
    """
    if sync_playwright is None or not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail("the browser tests need Debian's chromium and the playwright package")
        pytest.skip("no Chromium here (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIET, chromium_sandbox=False
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, browser: "Browser") -> Iterator[RunningUp]:
    """The real service with the fake engine, slow enough to be observed."""
    del browser  # first, so that nothing is started for skipped tests
    with running_up(tmp_path_factory.mktemp("page"), fake_step_seconds="0.15") as up:
        yield up


@pytest.fixture
def context(browser: "Browser") -> "Iterator[BrowserContext]":
    """A separate device: empty storage, English, and reduced motion."""
    made = browser.new_context(
        locale="en-US",
        reduced_motion="reduce",
        accept_downloads=True,
        service_workers="block",  # requests that one answers are hidden from these tests
    )
    made.set_default_timeout(60_000)
    yield made
    made.close()


@pytest.fixture
def page(context: "BrowserContext", stack: RunningUp) -> "Iterator[Page]":
    """The open page; afterwards it must have no unnoticed errors."""
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "console",
        lambda message: (
            faults.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    # Chromium intercepts file dialogs from now on. If that were requested only when one is awaited,
    # it could come after the key that opens it, and the dialog would never be seen.
    opened.on("filechooser", lambda _: None)
    opened.goto(stack.url)
    yield opened
    assert faults == []
