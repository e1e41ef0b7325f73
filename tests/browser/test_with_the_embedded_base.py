"""The page before the model that comes with the project: nothing is played to it."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Response, expect

from shared.settings import REPOSITORY
from tests.browser.driving import choose, download, set_strength, wait_for
from tests.support.stack import RunningUp, running_up

PORTRAIT = REPOSITORY / "examples" / "portrait.jpg"
WEIGHTS = REPOSITORY / "models" / "tiny" / "unet" / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """The service as `retouch up` starts it."""
    if not WEIGHTS.exists():
        pytest.skip("the embedded base is not in this checkout")
    with running_up(tmp_path_factory.mktemp("real"), engine="auto") as up:
        yield up


def pixels(data: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)


def test_a_portrait_is_enhanced_previewed_anew_and_downloaded(
    context: BrowserContext, real: RunningUp
) -> None:
    # Given
    page = context.new_page()
    small: list[Response] = []
    page.on(
        "response",
        lambda answer: small.append(answer) if answer.url.endswith("/preview") else None,
    )
    page.goto(real.url)
    # When
    choose(page, PORTRAIT)
    wait_for(page, "succeeded")
    _, data = download(page)
    # Then the small result came first, and the full one is the same photo, changed
    with Image.open(io.BytesIO(page.request.get(small[0].url).body())) as first:
        assert max(first.size) == 128
    before, larger = pixels(PORTRAIT.read_bytes()), pixels(data)
    height, width, _ = before.shape
    assert larger.shape == (4 * height, 4 * width, 3)  # four times, since it is small
    after = larger.reshape(height, 4, width, 4, 3).mean((1, 3))
    assert 0.2 < np.abs(before - after).mean() < 25
    # And another strength shows itself at once, and is what the full picture then has
    set_strength(page, "0.8")
    expect(page.locator("#live")).to_contain_text("Live preview,")
    page.click("#again")
    wait_for(page, "uploading", "sending", "queued", "running")
    wait_for(page, "succeeded")
    expect(page.locator("#facts")).to_contain_text("strength 0.8")
