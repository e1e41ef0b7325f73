"""The `mcp` package's own client against the running service: on HTTP, and on stdio."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from api.faces.mcp.open_sessions import MOST_OF_ONE
from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RETOUCH, RunningUp, clean_environment
from tests.support.wait import wait_until

TOOLS = {"enhance_photo", "list_loras", "get_job", "cancel_job"}


@asynccontextmanager
async def on_http(up: RunningUp, who: str = "ada", mode: Any = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {KEYS[who]}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{up.url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


@asynccontextmanager
async def on_stdio(up: RunningUp, folder: Path) -> AsyncIterator[Client]:
    environment = clean_environment(folder, {"url": up.url, "api_key": KEYS["ada"]})
    server = StdioServerParameters(
        command=RETOUCH, args=["mcp", "--allow", str(folder)], env=environment, cwd=folder
    )
    async with Client(server) as client:
        yield client


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 100))


def uploaded(ada: httpx2.Client, width: int = 64, height: int = 48) -> str:
    answer = ada.post("/v1/images", files={"image": ("p.jpg", photo(width, height))})
    return str(answer.json()["id"])


def said(result: Any) -> str:
    return " ".join(item.text for item in result.content if item.type == "text")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_photo_is_enhanced_with_its_true_percentage(
    up: RunningUp, ada: httpx2.Client, mode: str
) -> None:
    told: list[tuple[float, float | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del message
        told.append((progress, total))

    async def work() -> Any:
        async with on_http(up, mode=mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
            arguments = {"image": uploaded(ada), "lora": "none", "seed": 4}
            return await client.call_tool("enhance_photo", arguments, progress_callback=on_progress)

    result = run(work())

    assert not result.is_error, said(result)
    (image,) = [item for item in result.content if item.type == "image"]
    picture = Image.open(io.BytesIO(base64.b64decode(image.data)))
    facts = result.structured_content["result"]
    assert (picture.format, image.mime_type) == ("JPEG", "image/jpeg")  # as the photo
    assert picture.size == (facts["width"], facts["height"])
    assert told
    assert told == sorted(told)
    assert {total for _, total in told} == {100.0}


def test_loras_and_jobs_are_told_and_foreign_jobs_are_not(
    up: RunningUp, ada: httpx2.Client
) -> None:
    files = {"image": ("p.jpg", photo())}
    job = ada.post("/v1/jobs", files=files, data={"lora": "none"}).json()

    async def work() -> list[Any]:
        async with on_http(up) as mine, on_http(up, "bob") as other:
            arguments = {"job_id": job["id"]}
            return [
                await mine.call_tool("list_loras", {}),
                await mine.call_tool("get_job", arguments),
                await other.call_tool("get_job", arguments),
                await other.call_tool("cancel_job", arguments),
                await other.call_tool("enhance_photo", {"image": uploaded(ada)}),
            ]

    loras, mine, foreign, refused, picture = run(work())

    assert "face_restore_tiny" in [one["name"] for one in loras.structured_content["loras"]]
    assert mine.structured_content["id"] == job["id"]
    for answer, code in (
        (foreign, "job_not_found"),
        (refused, "job_not_found"),
        (picture, "image_not_found"),
    ):
        assert answer.is_error
        assert code in said(answer)


def test_a_canceled_call_cancels_the_job(up: RunningUp, ada: httpx2.Client) -> None:
    known = {job["id"] for job in ada.get("/v1/jobs").json()["items"]}

    def states() -> set[str]:
        jobs = ada.get("/v1/jobs").json()["items"]
        return {job["state"] for job in jobs if job["id"] not in known}

    async def work() -> None:
        async with on_http(up) as client:
            arguments = {"image": uploaded(ada, 90, 90), "strength": 1, "lora": "none"}
            call = asyncio.create_task(client.call_tool("enhance_photo", arguments))
            while not await asyncio.to_thread(states):
                assert not call.done()
            call.cancel()
            await asyncio.wait([call])
            await asyncio.to_thread(
                wait_until, lambda: states() <= {"canceled", "succeeded"}, description="the end"
            )

    run(work())
    assert states() == {"canceled"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"image": "0" * 64}, "image_not_found"),
        ({"image": "http://127.0.0.1/a.png"}, "https"),
        ({"image": "https://localhost/a.png"}, "private network"),
        ({"image": "https://169.254.169.254/latest"}, "private network"),
        ({"image": "file:///etc/passwd"}, "https"),
        ({"image": "0" * 64, "strength": 9}, "strength"),
        ({"image": "0" * 64, "lora": "../x"}, "lora"),
    ],
)
def test_bad_arguments_are_refused_in_words(
    up: RunningUp, arguments: dict[str, Any], word: str
) -> None:
    async def work() -> Any:
        async with on_http(up) as client:
            return await client.call_tool("enhance_photo", arguments)

    result = run(work())

    assert result.is_error
    assert word in said(result)


def test_an_unknown_tool_is_refused(up: RunningUp) -> None:
    async def work() -> Any:
        async with on_http(up) as client:
            try:
                return said(await client.call_tool("format_disk", {}))
            except Exception as error:
                return str(error)

    assert "format_disk" in run(work()) or "nknown tool" in run(work())


def initialize(up: RunningUp, who: str, session: str | None = None) -> httpx2.Response:
    headers = {
        "Authorization": f"Bearer {KEYS.get(who, 'wrong')}",
        "Accept": "application/json, text/event-stream",
    }
    body: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    if session is not None:
        headers["Mcp-Session-Id"] = session
        body = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    return httpx2.post(f"{up.url}/mcp", json=body, headers=headers, timeout=30)


def test_a_session_is_of_no_use_to_somebody_else(up: RunningUp) -> None:
    session = initialize(up, "ada").headers["mcp-session-id"]

    assert initialize(up, "ada", session).status_code == 200
    assert initialize(up, "bob", session).status_code == 404
    assert initialize(up, "bob", "0" * 32).status_code == 404


def test_nobody_takes_all_sessions(up: RunningUp) -> None:
    opened = [initialize(up, "eve") for _ in range(MOST_OF_ONE + 1)]

    assert [answer.status_code for answer in opened] == [200] * MOST_OF_ONE + [429]
    assert opened[-1].json()["code"] == "rate_limited"
    assert initialize(up, "bob").status_code == 200
    headers = {
        "Authorization": f"Bearer {KEYS['eve']}",
        "Mcp-Session-Id": opened[0].headers["mcp-session-id"],
    }
    assert httpx2.delete(f"{up.url}/mcp", headers=headers).status_code == 200
    assert initialize(up, "eve").status_code == 200


def test_a_wrong_key_a_foreign_origin_and_a_large_body_are_refused(up: RunningUp) -> None:
    key = {"Authorization": f"Bearer {KEYS['ada']}"}
    post = f"{up.url}/mcp"

    assert initialize(up, "nobody").status_code == 401
    assert httpx2.post(post, headers={**key, "Origin": "https://evil.test"}).status_code == 403
    large = b'{"jsonrpc": "2.0", "x": "' + b"a" * 2**21 + b'"}'
    headers = {**key, "Content-Type": "application/json"}
    assert httpx2.post(post, content=large, headers=headers).status_code == 413


# --- stdio


def test_stdio_takes_a_path_and_writes_beside_it(up: RunningUp, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_bytes(photo())
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        told.append(progress)

    async def work() -> list[Any]:
        async with on_stdio(up, tmp_path) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            arguments = {"path": str(tmp_path / "me.jpg"), "lora": "none"}
            done = await client.call_tool("enhance_photo", arguments, progress_callback=on_progress)
            outside = await client.call_tool("enhance_photo", {"path": "/etc/passwd"})
            link = tmp_path / "link.jpg"
            link.symlink_to("/etc/passwd")
            linked = await client.call_tool("enhance_photo", {"path": str(link)})
            written = await client.call_tool(
                "enhance_photo", {**arguments, "output": "/tmp/../etc/x.png"}
            )
            return [tools, done, outside, linked, written]

    tools, done, *refused = run(work())

    assert tools == TOOLS
    assert not done.is_error, said(done)
    with Image.open(tmp_path / "me_enhanced.jpg") as written:
        assert written.format == "JPEG"
    assert any(item.type == "image" for item in done.content)
    assert told == sorted(told)
    for answer in refused:
        assert answer.is_error
        assert "--allow" in said(answer)


def test_stdio_never_replaces_a_file_and_writes_what_the_name_says(
    up: RunningUp, tmp_path: Path
) -> None:
    (tmp_path / "me.webp").write_bytes(photo(kind="WEBP"))
    (tmp_path / "you.png").write_bytes(photo(kind="PNG"))
    (tmp_path / "better").mkdir()
    before = (tmp_path / "you.png").read_bytes()

    async def work() -> dict[str, Any]:
        outputs = (None, "new.jpg", "new", "better", "you.png", "new.heic", "none/x.png")
        async with on_stdio(up, tmp_path) as client:
            return {
                str(output): await client.call_tool(
                    "enhance_photo", {"path": "me.webp", "lora": "none", "output": output}
                )
                for output in outputs
            }

    answers = run(work())

    made = {"me_enhanced.webp": "WEBP", "new.jpg": "JPEG", "new.webp": "WEBP"}
    for name, kind in (made | {"better/me.webp": "WEBP"}).items():
        with Image.open(tmp_path / name) as image:
            assert image.format == kind, name
    kinds = [item.mime_type for item in answers["None"].content if item.type == "image"]
    assert kinds == ["image/webp"]
    refused = {output: said(answer) for output, answer in answers.items() if answer.is_error}
    assert set(refused) == {"you.png", "new.heic", "none/x.png"}
    assert "already" in refused["you.png"]
    assert "not produced" in refused["new.heic"]
    assert "no folder" in refused["none/x.png"]
    assert (tmp_path / "you.png").read_bytes() == before
