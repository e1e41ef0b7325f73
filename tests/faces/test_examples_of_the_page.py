"""The examples of docs/faces.md, run as they stand against the running service."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mcp import Client, StdioServerParameters

from shared.settings import REPOSITORY
from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RETOUCH, RunningUp, clean_environment

PAGE = (REPOSITORY / "docs" / "faces.md").read_text()
NODE = shutil.which("node")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def at_home(code: str, up: RunningUp) -> str:
    """The example with this service's address and key instead of its own."""
    port = urlsplit(up.url).port
    code = code.replace("http://127.0.0.1:8000", up.url).replace("port=8000", f"port={port}")
    return re.sub(r'"KEY[^"]*"', f'"{KEYS["ada"]}"', code)


@pytest.mark.parametrize("code", examples("python"))
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_example_in_python_gets_a_picture(
    code: str, up: RunningUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(photo(64, 48))
    known: dict[str, object] = {}

    exec(compile(at_home(code, up), "example", "exec"), known)

    answer = known["answer"]
    assert getattr(answer, "data", None) or getattr(answer, "images", None)


def test_the_configuration_for_assistants_starts_a_server_with_tools(
    up: RunningUp, tmp_path: Path
) -> None:
    (text,) = examples("json")
    server = json.loads(text)["mcpServers"]["retouch"]
    assert server["command"] == "retouch"
    arguments = [str(tmp_path) if arg.startswith("/home") else arg for arg in server["args"]]
    environment = clean_environment(tmp_path, {"url": up.url, "api_key": KEYS["ada"]})

    async def tools() -> set[str]:
        started = StdioServerParameters(command=RETOUCH, args=arguments, env=environment)
        async with Client(started) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    assert "enhance_photo" in asyncio.run(asyncio.wait_for(tools(), 100))


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_the_example_in_javascript_gets_a_picture(up: RunningUp, tmp_path: Path) -> None:
    (code,) = examples("js")
    shutil.copy(REPOSITORY / "client-js" / "retouch.js", tmp_path)
    (tmp_path / "photo.jpg").write_bytes(photo(64, 48))
    around = (
        'import { openAsBlob } from "node:fs"; const file = await openAsBlob("photo.jpg");'
        f"const url = {json.dumps(up.url)}, key = {json.dumps(KEYS['ada'])}, show = () => {{}};"
    )
    script = around + code.replace("{ url,", "{ url, key,") + "console.log(better.type);"
    (tmp_path / "page.mjs").write_text(script)
    assert NODE is not None

    ended = subprocess.run(
        [NODE, "page.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )

    assert ended.stdout.strip().startswith("image/"), ended.stderr


def test_the_example_of_a_folder_makes_its_tree(up: RunningUp, tmp_path: Path) -> None:
    (text,) = examples("sh")
    (tmp_path / "Pictures" / "2024").mkdir(parents=True)
    (tmp_path / "Pictures" / "2024" / "me.jpg").write_bytes(photo(64, 48))
    line = text.splitlines()[0].replace("~", str(tmp_path))
    environment = clean_environment(tmp_path, {"url": up.url, "api_key": KEYS["ada"]})

    ended = subprocess.run(
        [RETOUCH, *shlex.split(line)[1:]], env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "Better" / "me.jpg").is_file()
