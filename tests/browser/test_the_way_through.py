"""From drop to downloaded picture, in Chromium, against the real service."""

import io
import json
import re
import zipfile

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.driving import (
    a_photo,
    choose,
    download,
    drop,
    prefer,
    set_strength,
    take_long,
    wait_for,
)
from tests.support.pictures import photo
from tests.support.stack import RunningUp
from tests.support.wait import wait_until


def test_a_dropped_photo_becomes_a_downloaded_picture(page: Page, stack: RunningUp) -> None:
    # Given
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url))
    take_long(page)
    # When
    drop(page, photo(160, 120))
    # Then every stage is seen on the way
    expect(page.locator(".badge")).to_contain_text("Sharpened on this device")
    wait_for(page, "running")
    expect(page.locator(".badge")).to_contain_text("Small result blended in")
    expect(page.locator("#percent")).to_have_text(re.compile(r"^\d+ %$"))
    expect(page.locator("#remaining")).to_contain_text("left")
    wait_for(page, "succeeded")
    expect(page.locator("#sizes")).to_contain_text("160 × 120")
    expect(page.locator("#speed")).to_contain_text("first look")
    name, data = download(page)
    assert name == "selfie-retouched.jpeg"
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (640, 480)  # four times, since it is small
    assert all(url.startswith((stack.url, "blob:")) for url in hosts)


def test_the_sharpened_look_is_there_before_a_byte_is_sent(page: Page) -> None:
    # Given uploads that do not go through
    held: list[Route] = []
    page.route("**/v1/images", lambda route: held.append(route))
    # When
    choose(page, a_photo())
    # Then
    expect(page.locator(".badge")).to_contain_text("Sharpened on this device")
    expect(page.locator("compare-view .after canvas.layer")).to_be_visible()
    wait_for(page, "uploading")
    page.click("#cancel")
    wait_for(page, "canceled")
    for route in held:
        route.abort()


def test_the_first_look_is_by_webgl_where_there_is_hardware_for_it(
    page: Page, stack: RunningUp
) -> None:
    # Given a device that does not call its WebGL software
    page.add_init_script("WebGL2RenderingContext.prototype.getExtension = () => null")
    page.goto(stack.url)
    page.route("**/v1/images", lambda _: None)
    # When
    choose(page, a_photo())
    # Then
    expect(page.locator(".badge")).to_have_text("Sharpened on this device, not the result yet")
    drawn = page.locator("compare-view .after canvas.layer")
    assert drawn.evaluate(
        "canvas => canvas.getContext('2d') === null"
    )  # it shows a bitmap of WebGL


def test_a_slow_upload_shows_its_true_percentage(page: Page) -> None:
    # Given a line of 40 kB a second
    session = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 20, "downloadThroughput": -1, "uploadThroughput": 40_000}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", slow)
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => {
            if (document.getElementById('stage').dataset.phase === 'uploading')
              window.seen.push(parseInt(document.getElementById('percent').textContent));
          }).observe(document.getElementById('percent'), { childList: true });
        }"""
    )
    noise = Image.effect_noise((400, 400), 90).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    # When
    choose(page, {"name": "noise.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
    wait_for(page, "succeeded")
    # Then
    seen = [percent for percent in page.evaluate("window.seen") if percent is not None]
    assert seen == sorted(seen)
    assert len({percent for percent in seen if 0 < percent < 100}) >= 2


def test_a_large_photo_is_turned_upright_and_keeps_its_size(page: Page) -> None:
    # Given a photo on its side, of several megapixels
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = photo(3000, 1500, exif=exif)
    sent: list[Request] = []
    page.on("request", lambda one: sent.append(one) if one.url.endswith("/v1/images") else None)
    # When
    choose(page, {"name": "big.jpg", "mimeType": "image/jpeg", "buffer": sideways})
    wait_for(page, "succeeded")
    # Then
    shown = page.locator("compare-view .before img").last
    size = shown.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [1500, 3000]
    expect(page.locator("#sizes")).to_contain_text("1,500 × 3,000")
    assert page.inner_text("#sizes").count("1,500 × 3,000") == 2
    assert len(sent) <= 2  # itself, and the part of it that is previewed


def test_a_photo_that_only_the_service_can_open_is_sent_as_it_is_and_shown(page: Page) -> None:
    # Given a HEIC, which Chromium does not open
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.open(io.BytesIO(photo(320, 240))).save(out, "HEIF")
    # When
    choose(page, {"name": "IMG_0001.HEIC", "mimeType": "image/heic", "buffer": out.getvalue()})
    wait_for(page, "succeeded")
    # Then both pictures are seen, and what comes back is what opens everywhere
    for side in ("before", "after"):
        shown = page.locator(f"compare-view .{side} img").last
        expect(shown).to_be_visible()
        assert shown.evaluate("image => image.naturalWidth / image.naturalHeight") == 4 / 3
    expect(page.locator("#sizes")).to_contain_text("320 × 240")
    expect(page.locator("#sizes")).to_contain_text("1,280 × 960")
    name, data = download(page)
    assert name == "IMG_0001-retouched.jpeg"
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    page.locator("#rows li").scroll_into_view_if_needed()
    expect(page.locator("#rows img")).to_have_count(1)


def test_the_file_dialog_offers_every_kind_that_is_taken(page: Page) -> None:
    accept = page.get_attribute("#file", "accept") or ""
    wanted = {"image/*", ".heic", ".heif", ".avif", ".tif", ".tiff", ".bmp"}
    assert wanted <= set(accept.split(","))


def test_a_name_of_two_hundred_and_fifty_five_bytes_in_any_script_is_kept_as_far_as_it_fits(
    page: Page,
) -> None:
    choose(page, a_photo(name="照片" * 41 + ".jpg"))
    wait_for(page, "succeeded")
    name, data = download(page)
    assert name == ("照片" * 33) + "-retouched.jpeg"
    assert data


def test_another_strength_is_previewed_and_then_made_in_full(page: Page) -> None:
    # Given
    choose(page, a_photo())
    wait_for(page, "succeeded")
    # When
    set_strength(page, "0.9")
    # Then
    expect(page.locator("#live")).to_contain_text("Live preview,")
    expect(page.locator(".badge")).to_contain_text("Preview of these settings")
    page.click("#again")
    wait_for(page, "uploading", "sending", "queued", "running")
    wait_for(page, "succeeded")
    expect(page.locator("#facts")).to_contain_text("strength 0.9")


def test_a_service_without_live_previews_is_asked_once(page: Page) -> None:
    # Given
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        body = json.dumps({"code": "not_found", "detail": "There is nothing at this address."})
        route.fulfill(status=404, content_type="application/problem+json", body=body)

    page.route("**/v1/previews", refuse)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    # When
    set_strength(page, "0.6")
    expect(page.locator("#live")).to_be_hidden()
    page.wait_for_function("() => true")
    with page.expect_request("**/v1/images/*"):  # the next job asks whether its photo is there
        page.wait_for_timeout(400)
        set_strength(page, "0.7")
        page.wait_for_timeout(400)
        page.click("#again")
    # Then
    assert len(asked) == 1
    wait_for(page, "succeeded")


def test_a_running_job_is_canceled_here_and_there(page: Page) -> None:
    # Given
    take_long(page)
    choose(page, a_photo())
    wait_for(page, "running")
    # When
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as caught:
        page.click("#cancel")
    # Then
    assert caught.value.ok
    wait_for(page, "canceled")


def test_a_job_that_was_done_before_it_was_canceled_is_shown(page: Page, stack: RunningUp) -> None:
    # Given a cancellation that is long on its way
    held: list[Route] = []
    page.route(
        "**/v1/jobs/*",
        lambda route: held.append(route) if route.request.method == "DELETE" else route.continue_(),
    )
    take_long(page, 10)
    choose(page, a_photo())
    wait_for(page, "running")
    with page.expect_request(lambda request: request.method == "DELETE") as asked:
        page.click("#cancel")
    wait_for(page, "canceled")
    job = stack.url + "/v1/jobs/" + asked.value.url.rpartition("/")[2]
    wait_until(
        lambda: page.request.get(job).json()["state"] == "succeeded",
        description="the job to end",
        seconds=60,
    )
    # When
    held[0].continue_()
    # Then
    wait_for(page, "succeeded")
    expect(page.locator("#save")).to_be_visible()


def test_several_photos_have_a_row_each_and_come_as_one_zip(page: Page) -> None:
    # When
    choose(page, a_photo("one.jpg"), a_photo("two.jpg", 120, 160), a_photo("one.jpg", 64, 64))
    # Then
    expect(page.locator('#rows li[data-phase="succeeded"]')).to_have_count(3)
    _, data = download(page, "#zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == 3
        sizes = {Image.open(io.BytesIO(archive.read(name))).size for name in archive.namelist()}
    assert sizes == {(640, 480), (480, 640), (256, 256)}  # four times, since they are small


def test_a_picture_with_its_recipe_restores_every_setting(page: Page) -> None:
    # Given
    prefer(page, 0.7, prompt="a <calm> face & light", steps="7", embed_metadata=True)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    _, data = download(page)
    page.click("#reset")
    expect(page.locator("[name=prompt]")).to_have_value("")
    # When
    drop(page, data, "result.png")
    # Then
    expect(page.locator("#toast")).to_contain_text("contains its recipe")
    expect(page.locator("[name=prompt]")).to_have_value("a <calm> face & light")
    expect(page.locator("[name=steps]")).to_have_value("7")
    expect(page.locator("#strength-range")).to_have_value("0.7")
    expect(page.locator("#rows li")).to_have_count(1)


def test_make_another_like_this_is_kept_here_and_in_a_link(page: Page, stack: RunningUp) -> None:
    # Given
    prefer(page, 0.65)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    # When
    page.click("#like")
    link = page.url
    # Then it is there in a new tab, and in one of another device
    again = page.context.new_page()
    again.goto(stack.url)
    expect(again.locator("#strength-range")).to_have_value("0.65")
    assert page.context.browser is not None
    other = page.context.browser.new_context()
    elsewhere = other.new_page()
    elsewhere.goto(link)
    expect(elsewhere.locator("#strength-range")).to_have_value("0.65")
    seed = page.locator("[name=seed]").input_value()
    assert seed
    expect(elsewhere.locator("[name=seed]")).to_have_value(seed)
    other.close()


@pytest.mark.parametrize("kind", ["curl", "python", "javascript"])
def test_the_request_is_shown_as_code(page: Page, stack: RunningUp, kind: str) -> None:
    choose(page, a_photo())
    wait_for(page, "succeeded")
    page.click("#outcome summary")
    page.click("#code")
    page.click(f"#code-kinds [value={kind}]")
    text = page.inner_text("#code-text")
    assert stack.url in text
    assert "strength" in text
    assert ("better.jpg" in text) == (kind != "javascript")  # a JPEG comes back as one


def test_history_stays_on_this_device_until_it_is_deleted(page: Page) -> None:
    # Given
    choose(page, a_photo())
    wait_for(page, "succeeded")
    expect(page.locator("#facts")).to_contain_text("seed")
    # When
    page.reload()
    # Then
    wait_for(page, "succeeded")
    expect(page.locator("compare-view .after img").last).to_be_visible()
    page.click(".remove")
    expect(page.locator("#sheet")).to_be_hidden()
    page.reload()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#sheet")).to_be_hidden()


def test_a_reload_in_the_middle_takes_the_job_up_again(page: Page) -> None:
    # Given
    take_long(page)
    choose(page, a_photo())
    wait_for(page, "running")
    # When
    page.reload()
    # Then
    wait_for(page, "queued", "running")
    wait_for(page, "succeeded")
    expect(page.locator("#rows li")).to_have_count(1)


def test_a_small_result_that_comes_late_never_covers_the_full_picture(page: Page) -> None:
    # Given a preview that is on its way for longer than the whole job takes
    held: list[Route] = []
    page.route("**/v1/jobs/*/preview", lambda route: held.append(route))
    take_long(page, 20)
    choose(page, a_photo())
    wait_for(page, "succeeded")
    # When
    for route in held:
        route.continue_()
    page.wait_for_timeout(500)
    # Then
    assert held
    expect(page.locator(".badge")).to_be_hidden()
    width = page.locator("compare-view .after img").evaluate_all(
        "images => images.map(image => image.naturalWidth)"
    )
    assert width == [640]  # four times, since it is small
