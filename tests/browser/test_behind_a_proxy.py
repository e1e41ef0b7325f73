"""The page through nginx with TLS and below a path, by deploy/nginx.conf."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.driving import a_photo, choose, download, wait_for
from tests.support.certificates import Authority
from tests.support.proxies import public_url, running_proxy
from tests.support.stack import running_up


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """The public address of a whole service."""
    del browser  # first, so that nothing is started in vain
    folder = tmp_path_factory.mktemp("proxied")
    url, port = public_url()
    with running_up(folder, public_url=f"{url}/", fake_step_seconds="0.05") as up:
        behind = int(up.url.rpartition(":")[2])
        with running_proxy("nginx", Path(folder) / "proxy", behind, port, Authority()):
            yield url


def test_a_photo_goes_through_the_whole_page_below_a_path(browser: Browser, site: str) -> None:
    context = browser.new_context(locale="en-US", ignore_https_errors=True, accept_downloads=True)
    page, asked, faults = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda got: faults.append(got.url) if got.status >= 400 else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{site}/")

    choose(page, a_photo())
    wait_for(page, "succeeded")
    name, picture = download(page)
    page.click("[data-say=docs]")
    page.wait_for_selector("#operations section")

    assert (name, picture[:2]) == ("selfie-retouched.jpeg", b"\xff\xd8")
    assert page.inner_text("#origin") == site
    own = [url for url in asked if not url.startswith(("blob:", "data:"))]
    assert [url for url in own if not url.startswith(f"{site}/")] == []
    assert any(url.endswith("/events") for url in own)
    assert faults == [], json.dumps(faults)
    context.close()
