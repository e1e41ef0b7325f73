"""How the page's files go out: packed, fresh, with policies that allow no more than is needed."""

import gzip
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.server import page_files
from api.server.page_files import STATIC, PageFiles


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that are served as the page's."""
    monkeypatch.setattr(page_files, "EXTRA", tmp_path / "extra")
    (tmp_path / "extra").mkdir()
    return tmp_path


@pytest.fixture
def files(folder: Path) -> TestClient:
    app = FastAPI()
    app.mount("/static", PageFiles(directory=folder))
    return TestClient(app)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/app.webmanifest", "/static/page.js", "/static/page.css"]
)
def test_the_page_goes_out_packed(client: TestClient, path: str) -> None:
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert "Accept-Encoding" in packed.headers["vary"]


def test_a_script_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/static/page.js", headers={"Accept-Encoding": "gzip"})
    again = client.get("/static/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


def test_an_edited_script_is_packed_anew(folder: Path, files: TestClient) -> None:
    (folder / "a.js").write_text("1")
    assert files.get("/static/a.js").text == "1"
    (folder / "a.js").write_text("22")
    assert files.get("/static/a.js").text == "22"


def test_what_was_packed_at_install_is_sent_as_it_lies_there(
    folder: Path, files: TestClient
) -> None:
    (folder / "extra" / "a.wasm").write_bytes(b"\0asm" * 100)
    (folder / "extra" / "a.wasm.gz").write_bytes(gzip.compress(b"\0asm" * 100))
    packed = files.get("/static/extra/a.wasm", headers={"Accept-Encoding": "gzip"})
    assert packed.content == b"\0asm" * 100
    assert packed.headers["content-type"] == "application/wasm"
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]


def test_only_workers_may_compile_webassembly(
    folder: Path, files: TestClient, client: TestClient
) -> None:
    (folder / "an-upscale-worker.js").write_text("1")
    (folder / "extra" / "runtime.mjs").write_text("1")
    for path in ("an-upscale-worker.js", "extra/runtime.mjs"):
        policy = files.get(f"/static/{path}").headers["content-security-policy"]
        assert "'wasm-unsafe-eval'" in policy
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
    for path in ("/", "/docs", "/static/page.js"):
        assert "wasm" not in client.get(path).headers["content-security-policy"]


def test_the_page_is_isolated_so_that_it_may_use_threads(client: TestClient) -> None:
    headers = client.get("/").headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"


def test_no_file_of_the_page_has_a_script_or_a_style_in_line() -> None:
    for path in STATIC.glob("*.html"):
        text = path.read_text("utf-8")
        assert "<style" not in text
        assert 'style="' not in text


def test_the_shell_names_files_that_are_there_and_none_of_the_extras(client: TestClient) -> None:
    files = client.get("/shell.json").json()["files"]
    assert {"", "static/page.js", "static/words/zh.js", "static/sample.webp"} <= set(files)
    assert not any(path.startswith(("v1", "static/extra")) for path in files)
    assert [path for path in files if client.get(f"/{path}").status_code != 200] == []


def test_the_shell_s_version_changes_with_any_file(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_files, "STATIC", tmp_path)
    (tmp_path / "a.js").write_text("1")
    before = client.get("/shell.json").json()
    (tmp_path / "a.js").write_text("2")
    after = client.get("/shell.json").json()
    assert before["files"] == after["files"]
    assert before["version"] != after["version"]


def test_the_service_worker_may_ask_this_service_and_compile_nothing(client: TestClient) -> None:
    answer = client.get("/offline-worker.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"
    assert answer.headers["cache-control"] == "no-cache"
    manifest = client.get("/app.webmanifest")
    assert manifest.headers["content-type"].startswith("application/manifest+json")
