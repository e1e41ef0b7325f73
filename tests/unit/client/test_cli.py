"""The command line against a scripted service: what it sends, writes, says, and exits with."""

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from retouch.cli import app
from retouch.stack.ports import free_port
from tests.unit.client.scripted_server import (
    Answer,
    ScriptedServer,
    as_json,
    event,
    job,
    problem,
    stream,
)

DONE: dict[str, Any] = {"params": {"seed": 7, "loras": [{"name": "face", "scale": 1.0}]}}
CAPABILITIES = {"GET /v1/capabilities": [as_json({"limits": {}})]}


def encoded(colour: tuple[int, int, int]) -> bytes:
    data = BytesIO()
    Image.new("RGB", (16, 12), colour).save(data, "PNG")
    return data.getvalue()


PHOTO, PICTURE = encoded((9, 0, 0)), encoded((0, 9, 0))
IMAGE = Answer(200, PICTURE, {"ETag": f'"{sha256(PICTURE).hexdigest()}"'})


def script(*submissions: Answer) -> dict[str, list[Answer]]:
    return CAPABILITIES | {
        "POST /v1/jobs": list(submissions) or [as_json(job(), 202)],
        "GET /v1/jobs/j1/events": [stream(event(1, "progress", percent=9.0), event(2, "result"))],
        "GET /v1/jobs/j1": [as_json(job("succeeded", **DONE))],
        "GET /v1/jobs/j1/image": [IMAGE],
    }


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two photos, in the folder where the commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PHOTO)
    return ["a.png", "b.png"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(url: str, *arguments: str) -> Result:
        monkeypatch.setenv("RETOUCH_URL", url)
        return CliRunner().invoke(app, arguments)

    return run


def test_every_picture_is_written_and_its_path_is_the_output(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", *photos, "-o", "new")
    assert result.exit_code == 0
    assert result.stdout == "new/a.png\nnew/b.png\n"
    assert Path("new/a.png").read_bytes() == Path("new/b.png").read_bytes() == PICTURE


def test_the_options_become_the_jobs_parameters(photos: list[str], run: Any) -> None:
    options = ["-l", "a:0.5", "-l", "b", "--strength", "0.3", "--steps", "12", "--seed", "7",
               "--max-side", "512", "--upscale", "2", "--prompt", "sharp", "--force"]  # fmt: skip
    with ScriptedServer(script()).running() as server:
        run(server.url, "enhance", photos[0], *options, "-o", "new.webp")
    (sent,) = server.requests("POST /v1/jobs")
    text = sent.body.decode("latin-1")
    for name, value in [("lora", "a:0.5"), ("lora", "b"), ("strength", "0.3"), ("steps", "12"),
                        ("seed", "7"), ("max_side", "512"), ("upscale", "2"),
                        ("prompt", "sharp"), ("force", "true"), ("format", "webp")]:  # fmt: skip
        assert f'name="{name}"\r\n\r\n{value}\r\n' in text


def test_the_sizes_before_and_after_and_why_are_told(photos: list[str], run: Any) -> None:
    size = {"width": 4000, "height": 3000}
    result = size | {"format": "png", "size_bytes": len(PICTURE), "sha256": "0" * 64}
    sized = {"source": size, "result": result}
    done = {**DONE, **sized}
    done["params"] = {**done.get("params", {}), "lora_reason": "The photo shows noise."}
    answers = script() | {"GET /v1/jobs/j1": [as_json(job("succeeded", **done))] * 2}
    with ScriptedServer(answers).running() as server:
        told = run(server.url, "enhance", photos[0], "-o", "new.png")
        (listed,) = json.loads(
            run(server.url, "enhance", photos[0], "-o", "new.png", "--json").stdout
        )
    assert told.stderr.startswith("  4000 x 3000 -> 4000 x 3000; ")
    assert "The photo shows noise." in told.stderr
    assert listed["source"] == {"width": 4000, "height": 3000}
    assert listed["result"] == {"width": 4000, "height": 3000}
    assert (listed["lora_reason"], listed["degraded"]) == ("The photo shows noise.", [])


def test_options_that_are_not_given_are_left_to_the_service(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        run(server.url, "enhance", photos[0], "-o", "new.png")
    (sent,) = server.requests("POST /v1/jobs")
    for name in (b"lora", b"strength", b"steps", b"seed", b"force", b"prompt"):
        assert b'name="%s"' % name not in sent.body


def test_a_photo_that_fails_does_not_stop_the_others(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", "missing.png", *photos, "-o", "new")
    assert result.exit_code == 1
    assert result.stdout == "new/a.png\nnew/b.png\n"
    assert "missing.png cannot be read: No such file" in result.stderr
    assert not Path("new/missing.png").exists()


def test_a_refusal_is_told_with_its_advice(photos: list[str], run: Any) -> None:
    with ScriptedServer(script(problem(404, "lora_not_found"))).running() as server:
        result = run(server.url, "enhance", photos[0], "-o", "new.png")
    assert result.exit_code == 1
    assert result.stderr == "a.png: lora_not_found happened.\n  Do better.\n"
    assert not Path("new.png").exists()


def test_a_picture_that_cannot_be_written_is_a_failure(photos: list[str], run: Any) -> None:
    Path("new").touch()
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", photos[0], "-o", "new/a.png")
    assert result.exit_code == 1
    assert "new/a.png cannot be written" in result.stderr


def test_the_outcome_as_json_names_every_photo(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", photos[0], "gone.png", "-o", "new", "--json")
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)
    assert (good["photo"], good["output"], good["error"]) == ("a.png", "new/a.png", None)
    assert (good["job"], good["seed"], good["loras"]) == (
        "j1", 7, [{"name": "face", "scale": 1.0}],
    )  # fmt: skip
    assert (bad["photo"], bad["output"]) == ("gone.png", None)
    assert bad["error"]["code"] == "cannot_read_photo"


def test_a_comparison_is_written_beside_the_picture(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", photos[0], "--before-after", "-o", "out/a_enhanced.png")
    assert result.stdout == "out/a_enhanced.png\nout/a_before_after.png\n"
    with Image.open("out/a_before_after.png") as sheet:
        assert sheet.width > 32


def test_a_server_that_is_named_but_does_not_answer_is_an_error(
    photos: list[str], run: Any
) -> None:
    result = run(f"http://127.0.0.1:{free_port()}", "enhance", photos[0], "-o", "new.png")
    assert result.exit_code != 0
    assert "No retouch server answers" in str(result.exception)


def test_the_lora_list_shows_why_one_is_held_back(run: Any) -> None:
    items = {"items": [{"name": "face", "state": "available", "base": "tiny", "rank": 8,
                        "title": "Faces"},
                       {"name": "odd", "state": "quarantined", "base": "unknown",
                        "reason": "It hides an address."}]}  # fmt: skip
    with ScriptedServer(CAPABILITIES | {"GET /v1/loras": [as_json(items)]}).running() as server:
        table = run(server.url, "loras", "list")
        as_data = run(server.url, "loras", "list", "--json")
    assert "Faces" in table.stdout
    assert "It hides an address." in table.stdout
    assert [item["name"] for item in json.loads(as_data.stdout)] == ["face", "odd"]


def test_a_file_that_is_no_lora_is_checked_to_the_end_and_exits_with_one(
    run: Any, photos: list[str]
) -> None:
    result = run("http://unused", "loras", "check", photos[0], "gone.safetensors", "--json")
    assert result.exit_code == 1
    verdicts = json.loads(result.stdout)
    assert [verdict["file"] for verdict in verdicts] == ["a.png", "gone.safetensors"]
    for verdict in verdicts:
        assert set(verdict) == {
            "file", "sha256", "base", "kind", "rank", "state", "reason", "reason_code",
            "evidence", "trigger_words", "unplaced",
        }  # fmt: skip
        assert verdict["state"] == "quarantined"


@pytest.mark.parametrize(
    "arguments", [["enhance"], ["loras", "check"], ["up", "--workers", "-1"], ["nonsense"]]
)
def test_wrong_usage_exits_with_two(arguments: list[str], run: Any) -> None:
    assert run("http://unused", *arguments).exit_code == 2


def test_the_version_is_the_packages(run: Any) -> None:
    assert run("http://unused", "--version").stdout.startswith("retouch 0.")
