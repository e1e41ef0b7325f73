"""The attack table, row by row, against the whole service as `retouch up` starts it.

docs/security.md says which test holds which row; what needs no whole service is tested elsewhere.
"""

import io
import re
import signal
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from PIL import Image

from tests.support.hostile_pictures import (
    SECRET,
    animated,
    friendly_names,
    png_of,
    saved,
    spiked,
    talkative,
)
from tests.support.pictures import photo
from tests.support.raw_http import CLOSING, Answer, chunked, exchange, part, read_answer, request
from tests.support.stack import RunningUp, running_up
from tests.support.wait import wait_until

KEY, OTHER = "key-of-ada-that-nobody-may-read", "key-of-bob-that-nobody-may-read"
HEADERS = {"X-API-Key": KEY}
LIMIT = 2**20
CPU_SECONDS = 1.0
NONE = part("lora", b"none")

# One client for all: each would read the certificates first. It keeps no connection and no cookie.
http = httpx2.Client(verify=False, limits=httpx2.Limits(max_keepalive_connections=0))

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    with running_up(
        tmp_path_factory.mktemp("attacked"),
        api_keys=f"ada={KEY},bob={OTHER}",
        max_upload_bytes=str(LIMIT),
        log_level="debug",
    ) as running:
        yield running
        # Whatever was tried, everything is as it was
        assert httpx2.get(f"{running.url}/readyz").status_code == 200
        assert running.said().count("starting it again") == 0


def submit(up: RunningUp, data: bytes, name: str = "photo.png", **fields: Any) -> httpx2.Response:
    # These pictures are tried for what they do to a decoder, not for their quality
    asked = {"lora": "none", "steps": "1", "force": "true"} | fields
    files = {"image": (name, data)}
    return http.post(f"{up.url}/v1/jobs", files=files, data=asked, headers=HEADERS, timeout=60)


def raw(up: RunningUp, data: bytes, seconds: float = 20.0) -> Answer:
    return exchange(up.url, data, seconds)


def post(up: RunningUp, body: bytes, **more: Any) -> Answer:
    return raw(up, request("/v1/jobs", body, headers=[f"X-API-Key: {KEY}"], **more))


def check(answer: httpx2.Response | Answer, status: int, code: str) -> None:
    if isinstance(answer, httpx2.Response):
        answer = Answer(answer.status_code, dict(answer.headers), answer.content)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def finished(up: RunningUp, job: dict[str, Any]) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        seen: dict[str, Any] = get(up, job["links"]["self"]).json()
        return seen if seen["state"] in ("succeeded", "failed", "canceled") else None

    seen = wait_until(ended, description="the job to end", seconds=60, every=0.1)
    assert seen is not None
    return seen


def get(up: RunningUp, path: str) -> httpx2.Response:
    return http.get(up.url + path, headers=HEADERS, timeout=60)


def gateway_cpu(up: RunningUp) -> float:
    spent = up.child("api").cpu_times()
    return float(spent.user + spent.system)


def files_of(up: RunningUp) -> set[Path]:
    """Uploads that are kept, and what is on its way; jobs under way write elsewhere."""
    folders = (up.data_dir / "blobs" / "sources", up.data_dir / "tmp", up.data_dir.parent / "tmp")
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


# --- over the limit


@pytest.mark.parametrize("length", [None, "99999999999", ""], ids=["true", "huge", "no"])
def test_over_the_limit_is_413_and_leaves_nothing(up: RunningUp, length: str | None) -> None:
    before = files_of(up)
    body = part("image", bytes(8 * LIMIT), "a.png") + CLOSING
    if length == "":
        sent = request("/v1/jobs", length="", headers=["Transfer-Encoding: chunked", _key()])
        answer = raw(up, sent + chunked(body[at : at + 65536] for at in range(0, len(body), 65536)))
    else:
        answer = post(up, body, length=length)

    check(answer, 413, "payload_too_large")
    assert files_of(up) == before


def test_a_length_that_is_too_small_cuts_the_form_off(up: RunningUp) -> None:
    before = files_of(up)
    body = part("image", photo(), "a.png") + part("steps", b"3") + CLOSING

    for length in (5, len(body) - len(CLOSING), len(body) - 4):
        check(post(up, body, length=str(length)), 400, "malformed_multipart")

    assert files_of(up) == before


def _key() -> str:
    return f"X-API-Key: {KEY}"


# --- parts, fields, headers, preambles without end


@pytest.mark.parametrize(
    "body",
    [
        part("a", b"1") * 10_001 + CLOSING,
        part("a", b"1", "b") * 10_001 + CLOSING,
        b"--x\r\n" + b"A: b\r\n" * 10_001 + b"\r\n1\r\n" + CLOSING,
        b"--x\r\nContent-Disposition: form-data; name=" + b"a" * 500_000,
        b"a" * 1_000_000 + CLOSING,
        b"--x\r\n" * 100_000,
    ],
    ids=["fields", "files", "headers", "a-header", "a-preamble", "boundaries"],
)
def test_a_form_without_end_is_400_within_a_second_of_cpu(up: RunningUp, body: bytes) -> None:
    before = gateway_cpu(up)

    check(post(up, body), 400, "malformed_multipart")

    assert gateway_cpu(up) - before < CPU_SECONDS


def test_a_body_in_crumbs_is_400_within_a_second_of_cpu(up: RunningUp) -> None:
    head = request("/v1/jobs", length="", headers=["Transfer-Encoding: chunked", _key()])
    before = gateway_cpu(up)

    answer = raw(up, head + chunked([b"a"] * 100_000))

    check(answer, 400, "malformed_request")
    assert gateway_cpu(up) - before < CPU_SECONDS


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
        b"GET / HTTP/1.1\r\nHost: a\r\nA: \x00\r\n\r\n",
    ],
    ids=[
        *("header", "headers", "target", "hosts", "no-host", "lengths", "smuggled"),
        *("compressed", "space", "tls", "nul"),
    ],
)
def test_what_is_not_http_is_400_in_our_words(up: RunningUp, data: bytes) -> None:
    check(raw(up, data), 400, "malformed_request")


GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LAST = GET + b"Connection: close\r\n\r\n"
OWN = f"X-API-Key: {KEY}"
CHUNKED = request("/v1/jobs", length="", headers=["Transfer-Encoding: chunked", OWN])
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        ([GET + b"\r\n", LAST], [200, 200]),
        ([(GET + b"\r\n") * 100 + LAST], [200] * 101),
        # As Java's client and `curl --http2` do
        ([request("/healthz", method="GET", headers=H2C) + LAST], [200, 200]),
        ([request("/v1/jobs", NONE + CLOSING, headers=[OWN, *H2C]), LAST], [422, 200]),
        # Refused before its body came
        (
            [request("/v1/jobs", kind="text/plain", length="2", headers=[OWN]), b"{}", LAST],
            [415, 200],
        ),
        ([GET + b"\r\n" + b"\0garbage"], [200, 400]),
        ([GET + b"\r\n" + CHUNKED + b"zz\r\n"], [200, 400]),
        ([CHUNKED, b"zz\r\n"], [400]),
        ([CHUNKED + b"5\r\nabcde\r\n0\r\nA: "] + [b"a" * 65536] * 40, [400]),
        ([b"GET /healthz HTTP/1.0\r\n\r\n"], [200]),
        ([GET] + [b"A: " + b"a" * 4000 + b"\r\n"] * 40, [400]),
        ([GET + b"A: " + b"a" * 60_000 + b"\r\nConnection: close\r\n\r\n"], [200]),
    ],
    ids=[
        *("one-after-the-other", "pipeline", "h2c", "h2c-with-a-body", "late-body"),
        *(
            "garbage-behind",
            "bad-body-behind",
            "bad-chunk",
            "endless-trailer",
            "http-1.0",
            "endless-head",
        ),
        "long-head",
    ],
)
def test_each_request_of_a_connection_has_its_answer(
    up: RunningUp, sent: list[bytes], statuses: list[int]
) -> None:
    parts = urlsplit(up.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 80))) as connection:
        connection.settimeout(20)
        for piece in sent:
            with suppress(OSError):  # the server may already have closed the connection
                connection.sendall(piece)
            time.sleep(0.02)  # so that the pieces do not arrive as one
        heard = b""
        with suppress(ConnectionError):  # as it does with what it has not read
            while data := connection.recv(65536):
                heard += data
    assert [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", heard)] == statuses


@pytest.mark.parametrize(
    "charset", ["punycode", "undefined", "idna", "unicode_escape", "utf-7", "zlib", "utf-16"]
)
def test_a_form_s_charset_chooses_no_codec(up: RunningUp, charset: str) -> None:
    body = part("image", photo(), "a") + NONE + part("prompt", b"\\ud800 \xff") + CLOSING

    answer = post(up, body, kind=f"multipart/form-data; boundary=x; charset={charset}")

    assert answer.status == 202


# --- urlencoded, and other kinds of body


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/images", "/enhance"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json", ""])
def test_a_body_that_is_no_multipart_form_is_415(up: RunningUp, path: str, kind: str) -> None:
    data = request(path, b"lora=none", kind=kind, headers=[_key()])

    check(raw(up, data), 415, "unsupported_media_type")


@pytest.mark.parametrize("length", [None, "", "100000000"], ids=["true", "no", "lie"])
def test_json_over_its_limit_is_413(up: RunningUp, length: str | None) -> None:
    more = ["Transfer-Encoding: chunked"] if length == "" else []
    body = chunked([bytes(65536)] * 64) if length == "" else b" " * 4_000_000
    kind = "application/json"
    data = request("/v1/previews", body, kind=kind, length=length, headers=[_key(), *more])

    check(raw(up, data), 413, "payload_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"image_id":"a","lora":"none","seed":' + b"9" * 6000 + b"}",
        b'{"image_id":"a","lora":"none","strength":NaN}',
        b'{"image_id":"a","lora":"none","strength":1e999}',
        b'{"image_id":"\\ud800","lora":"none"}',
        b"\xff\xfe",
        b"null",
        b"",
    ],
    ids=["deep", "deeper", "long-number", "nan", "infinite", "surrogate", "bytes", "null", "empty"],
)
def test_json_that_cannot_be_used_is_422(up: RunningUp, body: bytes) -> None:
    data = request("/v1/previews", body, kind="application/json", headers=[_key()])

    check(raw(up, data), 422, "validation_error")


def test_a_stranger_s_body_is_not_read(up: RunningUp) -> None:
    for path in ("/v1/jobs", "/v1/previews"):
        answer = raw(up, request(path, length="100000", kind="application/json"))
        check(answer, 401, "unauthenticated")


# --- ranges


@pytest.mark.parametrize(
    "ranges",
    [
        ",".join(f"{at * 2}-{at * 2}" for at in range(10_000)),
        ",".join(f"{at}-" for at in range(10_000)),
        "9999999-",
        "x",
        "9" * 5000 + "-",
    ],
    ids=["apart", "overlapping", "outside", "words", "long-number"],
)
@pytest.mark.parametrize("path", ["/", "/static/page.js"])
def test_ten_thousand_ranges_are_200_at_once(up: RunningUp, path: str, ranges: str) -> None:
    before = gateway_cpu(up)
    value = ranges[:60_000].rpartition(",")[0] or ranges

    answer = raw(up, request(path, method="GET", headers=[f"Range: bytes={value}"]))

    assert answer.status == 200
    assert len(answer.body) == int(answer.headers["content-length"])
    assert gateway_cpu(up) - before < CPU_SECONDS


# --- bombs


def test_a_decompression_bomb_is_422_before_it_is_decoded(up: RunningUp) -> None:
    before = sum(child.cpu_times().user for child in up.child("api").children())

    bomb = png_of(50_000, 50_000)
    assert len(bomb) < 100
    check(submit(up, bomb), 422, "image_too_large")

    assert sum(child.cpu_times().user for child in up.child("api").children()) == before


@pytest.mark.parametrize(
    ("name", "head"),
    [(b"zTXt", b"Comment\0\0"), (b"iTXt", b"Comment\0\1\0\0\0"), (b"iCCP", b"p\0\0")],
)
def test_a_bomb_in_a_png_s_text_or_profile_is_422(up: RunningUp, name: bytes, head: bytes) -> None:
    bomb = head + zlib.compress(bytes(64 * 2**20))

    check(submit(up, spiked(photo(kind="PNG"), name, bomb)), 422, "invalid_image")


def test_a_png_that_unpacks_to_more_than_it_claims_is_taken_as_it_claims(up: RunningUp) -> None:
    rows = zlib.compress(bytes(64 * (64 * 3 + 1)) + bytes(64 * 2**20))

    job = submit(up, png_of(64, 64, rows))

    assert job.status_code in (202, 422)
    assert job.status_code == 202 or job.json()["code"] in ("invalid_image", "image_truncated")


# --- not a picture, or not all of one


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part_kept", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_422(up: RunningUp, kind: str, part_kept: float) -> None:
    data = saved(Image.effect_noise((200, 150), 80).convert("RGB"), kind)

    check(submit(up, data[: int(len(data) * part_kept)]), 422, "image_truncated")


@pytest.mark.parametrize("kind", sorted(friendly_names()))
def test_another_format_under_a_friendly_name_is_415(up: RunningUp, kind: str) -> None:
    check(submit(up, friendly_names()[kind], "photo.png"), 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animated_picture_is_415(up: RunningUp, kind: str) -> None:
    check(submit(up, animated(kind)), 415, "animated_image")


def test_what_hangs_behind_a_jpeg_is_taken_and_never_served(up: RunningUp) -> None:
    tail = b"<html><script>alert(1)</script>PK\x03\x04" + SECRET.encode()
    answer = submit(up, photo(96, 64, "JPEG") + tail, "photo.jpg")
    assert answer.status_code == 202

    job = finished(up, answer.json())

    for link in ("image", "preview", "source"):
        served = get(up, job["links"][link])
        assert served.status_code == 200
        assert b"alert(1)" not in served.content
        assert SECRET.encode() not in served.content


def test_a_decoder_that_crashes_fails_one_upload_and_nothing_else(up: RunningUp) -> None:
    # Given a gateway whose idle decoders are broken for good
    assert submit(up, photo()).status_code == 202
    gateway = up.child("api")
    children = gateway.children()
    assert children
    for child in children:
        child.send_signal(signal.SIGSEGV)

    # When pictures come
    answers = [submit(up, photo()) for _ in range(len(children) + 1)]

    # Then each broken decoder has failed one, and the next is served by another
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) <= len(children)
    for answer in refused:
        check(answer, 422, "invalid_image")
    assert answers[-1].status_code == 202
    assert up.child("api").pid == gateway.pid


# --- metadata


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("made", ["png", "jpeg", "webp"])
def test_nothing_that_an_upload_says_of_itself_is_served(
    up: RunningUp, kind: str, made: str
) -> None:
    data = talkative(kind)
    assert SECRET.encode() in data
    answer = submit(up, data, f"{SECRET}.jpg", format=made)
    job = finished(up, answer.json())
    assert (job["state"], SECRET in str(job)) == ("succeeded", False)

    for link in ("image", "preview", "source"):
        served = get(up, job["links"][link])
        assert SECRET.encode() not in served.content
        assert SECRET not in str(served.headers)
        with Image.open(io.BytesIO(served.content)) as image:
            assert image.width < image.height  # upright, as its orientation said
            assert not {"icc_profile", "exif", "comment", "Comment"} & set(image.info)
            assert dict(image.getexif()) == {}


# --- odd shapes


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png_of(0, 64), "image_too_small"),
        (png_of(64, 0), "image_too_small"),
        (png_of(0, 0), "image_too_small"),
        (png_of(1, 65_535, zlib.compress(bytes(4 * 65_535))), "image_too_small"),
        (png_of(65_535, 1, zlib.compress(bytes(3 * 65_535 + 1))), "image_too_small"),
        (png_of(2**32 - 1, 2**32 - 1), "image_too_large"),
        (png_of(2**31, 1), "image_too_small"),
    ],
    ids=["0x64", "64x0", "0x0", "1x65535", "65535x1", "largest", "2^31x1"],
)
def test_a_shape_that_is_none_is_422(up: RunningUp, data: bytes, code: str) -> None:
    check(submit(up, data), 422, code)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_of_pixels_becomes_a_right_picture(up: RunningUp, mode: str) -> None:
    image = Image.new("RGB", (96, 64), (255, 255, 255))
    if mode == "I;16":
        data = saved(Image.new("I;16", (96, 64), 65_535), "PNG")
    else:
        data = saved(image.convert(mode), "JPEG" if mode == "CMYK" else "PNG")

    job = finished(up, submit(up, data, force="true").json())

    assert job["state"] == "succeeded"
    with Image.open(io.BytesIO(get(up, job["links"]["source"]).content)) as source:
        assert (source.mode, source.size) == ("RGB", (96, 64))
        assert min(source.convert("L").tobytes()) > 240


# --- names and numbers


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("../secret", 422, "validation_error"),
        ("/etc/passwd", 422, "validation_error"),
        ("..%2f..%2fetc", 422, "validation_error"),
        ("a\0b", 422, "validation_error"),
        ("no_such_lora", 404, "lora_not_found"),
        ("con.safetensors", 404, "lora_not_found"),
    ],
)
def test_a_lora_s_name_is_no_path(up: RunningUp, name: str, status: int, code: str) -> None:
    before = files_of(up)

    check(submit(up, photo(), lora=name), status, code)

    assert files_of(up) == before


@pytest.mark.parametrize("tail", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "a%00b", "a" * 5000])
def test_a_path_s_name_is_no_path_either(up: RunningUp, tail: str) -> None:
    for root in ("/v1/loras/", "/v1/jobs/", "/static/", "/problems/"):
        answer = raw(up, request(root + tail, method="GET", headers=[_key()]))
        assert answer.status == 404
        assert answer.code in ("not_found", "lora_not_found", "job_not_found")


@pytest.mark.parametrize(
    "field",
    [
        {"steps": "1000000000"},
        {"strength": "nan"},
        {"guidance_scale": "inf"},
        {"seed": "9" * 5000},
        {"upscale": "1e999"},
        {"max_side": "-1"},
        {"prompt": "a" * 15_000},
        {"negative_prompt": "a" * 1001},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_number_or_prompt_beyond_its_range_is_422(up: RunningUp, field: dict[str, str]) -> None:
    check(submit(up, photo(), **field), 422, "validation_error")


def test_a_prompt_of_a_million_characters_is_refused(up: RunningUp) -> None:
    check(submit(up, photo(), prompt="a" * 1_000_000), 400, "malformed_multipart")


# --- callers


@pytest.mark.parametrize("key", ["", "wrong", "schl\xfcssel", "\xff\xfe", KEY[:-1], KEY + "a"])
def test_no_key_or_a_wrong_one_is_401(up: RunningUp, key: str) -> None:
    for headers in ([], [f"X-API-Key: {key}"], [f"Authorization: Bearer {key}"]):
        for path in ("/v1/loras", f"/v1/jobs/{'0' * 32}", "/metrics"):
            answer = raw(up, request(path, method="GET", headers=headers))
            check(answer, 401, "unauthenticated")


def test_another_s_job_is_404_like_one_that_never_was(up: RunningUp) -> None:
    job = submit(up, photo()).json()
    bob = {"X-API-Key": OTHER}

    for tail in ("", "/image", "/preview", "/source", "/events"):
        theirs = httpx2.get(f"{up.url}/v1/jobs/{job['id']}{tail}", headers=bob)
        nobodys = httpx2.get(f"{up.url}/v1/jobs/{'0' * 32}{tail}", headers=bob)
        check(theirs, 404, "job_not_found")
        assert theirs.text.replace(job["id"], "0" * 32) == nobodys.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
def test_a_foreign_page_may_do_nothing(up: RunningUp, origin: str) -> None:
    headers = [f"Origin: {origin}", _key()]
    job = submit(up, photo()).json()
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    key = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]

    body = part("image", photo(), "a") + CLOSING
    check(raw(up, request("/v1/jobs", body, headers=headers)), 403, "forbidden")
    socket_path = job["links"]["socket"]
    opened = raw(up, request(socket_path, method="GET", headers=[*headers, *upgrade, *key]))
    assert opened.status == 403
    read = raw(up, request("/v1/loras", method="GET", headers=headers))
    assert "access-control-allow-origin" not in read.headers


# --- what a browser makes of it


def test_pages_run_nothing_of_strangers(up: RunningUp) -> None:
    for path in ("/", "/docs", "/problems/queue_full"):
        headers = httpx2.get(up.url + path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("made", ["png", "jpeg", "webp"])
def test_a_result_that_is_opened_as_a_page_stays_a_picture(up: RunningUp, made: str) -> None:
    job = finished(up, submit(up, photo(), "<img onerror=alert(1)>.html", format=made).json())

    for link in ("image", "preview", "source"):
        headers = get(up, job["links"][link]).headers
        assert headers["content-type"] in (f"image/{made}", "image/webp")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert "onerror" not in str(headers)


# --- secrets


def test_no_key_and_no_password_is_in_any_log(up: RunningUp) -> None:
    # Given a run with keys, right and wrong, tickets, and a store behind a password
    job = finished(up, submit(up, photo(), webhook_url=f"https://a.example/?{KEY}").json())
    ticket = httpx2.post(f"{up.url}{job['links']['self']}/ticket", headers=HEADERS).json()["ticket"]
    httpx2.get(f"{up.url}{job['links']['events']}?ticket={ticket}")
    httpx2.get(f"{up.url}/v1/loras", headers={"Authorization": f"Bearer wrong-{KEY}"})
    password = urlsplit((up.data_dir / "store.url").read_text()).password
    assert password

    # Then the logs tell of it, without them
    logs = {path.name: path.read_text() for path in (up.data_dir / "logs").iterdir()}
    assert job["id"] in logs["gateway.log"] + logs["worker-1.log"]
    for name, text in (logs | {"printed": up.said()}).items():
        for secret in (KEY, OTHER, password, ticket):
            assert secret not in text, name


def test_no_secret_is_in_any_command_line(up: RunningUp) -> None:
    password = urlsplit((up.data_dir / "store.url").read_text()).password
    for process in up.family():
        assert not any(str(password) in word or KEY in word for word in process.cmdline())


# --- slowness (how long is in tests/integration/test_gateway_slow_senders.py)


def test_many_idle_connections_leave_room_for_others(up: RunningUp) -> None:
    parts = urlsplit(up.url)
    address = (str(parts.hostname), int(parts.port or 0))
    idle = [socket.create_connection(address) for _ in range(300)]
    try:
        assert get(up, "/v1/loras").status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_a_pipelined_second_request_is_answered_after_the_first(up: RunningUp) -> None:
    parts = urlsplit(up.url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as connection:
        connection.settimeout(10)
        connection.sendall(request("/healthz", method="GET") * 2)
        assert [read_answer(connection).status] == [200]


def test_memory_is_as_it_was_after_all_of_this(up: RunningUp) -> None:
    gateway: psutil.Process = up.child("api")
    for _ in range(5):
        post(up, part("image", bytes(8 * LIMIT), "a.png") + CLOSING)
    assert gateway.memory_info().rss < 250 * 2**20
