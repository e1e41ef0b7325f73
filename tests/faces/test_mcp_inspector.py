"""The inspector's command line against the running service; skipped where it is not installed.

`npm install --global @modelcontextprotocol/inspector@2` brings it.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RETOUCH, RunningUp, clean_environment

TOOLS = {"enhance_photo", "list_loras", "get_job", "cancel_job"}
INSPECTOR = shutil.which("mcp-inspector")

pytestmark = [
    pytest.mark.skipif(INSPECTOR is None, reason="no mcp-inspector here"),
    pytest.mark.timeout(240),
]


def asked(*arguments: str) -> dict[str, Any]:
    """The inspector's answer to one request."""
    assert INSPECTOR is not None
    ended = subprocess.run(
        [INSPECTOR, "--cli", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def test_tools_are_listed_and_called_over_http(up: RunningUp) -> None:
    key = f"Authorization: Bearer {KEYS['ada']}"
    at = (f"{up.url}/mcp", "--transport", "http", "--header", key)

    listed = asked(*at, "--method", "tools/list")
    loras = asked(*at, "--method", "tools/call", "--tool-name", "list_loras")

    assert {tool["name"] for tool in listed["tools"]} == TOOLS
    assert all(tool["inputSchema"]["type"] == "object" for tool in listed["tools"])
    assert "denoise" in loras["content"][0]["text"]


def test_a_photo_is_enhanced_over_stdio(up: RunningUp, tmp_path: Path) -> None:
    (tmp_path / "me.jpg").write_bytes(photo())
    environment = clean_environment(tmp_path, {"url": up.url, "api_key": KEYS["ada"]})
    server = {
        "type": "stdio",
        "command": RETOUCH,
        "args": ["mcp", "--allow", str(tmp_path)],
        "env": environment,
    }
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"retouch": server}}))
    arguments = ("--tool-arg", f"path={tmp_path / 'me.jpg'}", "--tool-arg", "lora=none")

    done = asked(
        *("--config", str(config), "--server", "retouch"),
        *("--method", "tools/call", "--tool-name", "enhance_photo", *arguments),
    )

    assert not done.get("isError"), done
    assert (tmp_path / "me_enhanced.jpg").exists()
