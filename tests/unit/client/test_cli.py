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
               "--max-side", "512", "--upscale", "2", "--prompt", "sharp", "--force",
               "--sampler", "lcm"]  # fmt: skip
    with ScriptedServer(script()).running() as server:
        run(server.url, "enhance", photos[0], *options, "-o", "new.webp")
    (sent,) = server.requests("POST /v1/jobs")
    text = sent.body.decode("latin-1")
    for name, value in [("lora", "a:0.5"), ("lora", "b"), ("strength", "0.3"), ("steps", "12"),
                        ("seed", "7"), ("max_side", "512"), ("upscale", "2"),
                        ("prompt", "sharp"), ("sampler", "lcm"), ("force", "true"),
                        ("format", "webp")]:  # fmt: skip
        assert f'name="{name}"\r\n\r\n{value}\r\n' in text


def test_a_mask_is_sent_as_a_file_beside_the_photo(photos: list[str], run: Any) -> None:
    Path("m.png").write_bytes(b"white on black")
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", photos[0], "--mask", "m.png", "-o", "new.png")
        gone = run(server.url, "enhance", photos[0], "--mask", "gone.png", "-o", "new.png")
    assert result.exit_code == 0, result.stderr
    (sent,) = server.requests("POST /v1/jobs")
    assert b'name="image"; filename="a.png"' in sent.body
    assert b'name="mask"; filename=' in sent.body
    assert b"\r\n\r\nwhite on black\r\n" in sent.body
    assert gone.exit_code == 2
    assert "gone.png cannot be read" in gone.stderr


def test_a_folder_s_photos_are_made_again_for_another_mask(photos: list[str], run: Any) -> None:
    Path("in").mkdir()
    Path(photos[0]).replace("in/a.png")
    keys = []
    for mask in (b"one", b"two"):
        Path("m.png").write_bytes(mask)
        with ScriptedServer(script()).running() as server:
            result = run(server.url, "enhance", "in", "-r", "--mask", "m.png", "-o", mask.decode())
        assert result.exit_code == 0, result.stderr
        keys += [sent.headers["idempotency-key"] for sent in server.requests("POST /v1/jobs")]
    assert len(set(keys)) == 2


def test_the_sizes_before_and_after_and_why_are_told(photos: list[str], run: Any) -> None:
    size = {"width": 4000, "height": 3000}
    result = size | {"format": "png", "size_bytes": len(PICTURE), "sha256": "0" * 64}
    warnings = [{"code": "first_page", "message": "The first one was taken."}]
    suspected = [{"code": "maybe_watermark", "message": "It may have a watermark."}]
    safety = {"nsfw": 0.1, "flags": ["maybe_watermark"], "warnings": suspected}
    result |= {"safety": safety}
    sized = {"source": size | {"format": "tiff", "warnings": warnings}, "result": result}
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
    assert listed["source"] == size | {"format": "tiff"}
    assert listed["result"] == size | {"format": "png"}
    assert listed["warnings"] == warnings
    assert "The first one was taken." in told.stderr
    assert "It may have a watermark." in told.stderr
    assert listed["safety"] == safety
    assert (listed["lora_reason"], listed["degraded"]) == ("The photo shows noise.", [])


def finished(picture_format: str, *given_up: str) -> dict[str, list[Answer]]:
    """A script whose result has this format."""
    sized = {"width": 16, "height": 12, "size_bytes": 9, "sha256": "0" * 64}
    result = sized | {"format": picture_format}
    degraded = [{"code": code, "message": code} for code in given_up]
    done = job("succeeded", **DONE, result=result, degraded=degraded)
    return script() | {"GET /v1/jobs/j1": [as_json(done)]}


@pytest.mark.parametrize(
    ("picture_format", "name"), [("jpeg", "a.jpg"), ("webp", "a.webp"), ("png", "a.png")]
)
def test_the_service_chooses_the_format_and_the_picture_is_named_by_it(
    photos: list[str], run: Any, picture_format: str, name: str
) -> None:
    with ScriptedServer(finished(picture_format)).running() as server:
        into = run(server.url, "enhance", photos[0], "-o", "new/")
        beside = run(server.url, "enhance", photos[0])
        listed = json.loads(run(server.url, "enhance", *photos, "-o", "more", "--json").stdout)
    assert into.stdout == f"new/{name}\n"
    assert beside.stdout == f"{name.replace('.', '_enhanced.')}\n"
    assert listed[0]["output"] == f"more/{name}"
    assert Path(f"new/{name}").read_bytes() == Path(listed[1]["output"]).read_bytes() == PICTURE
    for sent in server.requests("POST /v1/jobs"):
        assert b'name="format"' not in sent.body


@pytest.mark.parametrize(
    ("options", "sent_format"),
    [(["-o", "x.jpg"], "jpeg"), (["-o", "x.JFIF"], "jpeg"), (["-o", "x.webp"], "webp"),
     (["-o", "x.png", "--format", "auto"], "auto"), (["-o", "x.png"], "png")],
)  # fmt: skip
def test_a_named_file_s_ending_asks_for_its_format(
    photos: list[str], run: Any, options: list[str], sent_format: str
) -> None:
    with ScriptedServer(script()).running() as server:
        result = run(server.url, "enhance", photos[0], *options)
    assert result.stdout == f"{options[1]}\n"
    (sent,) = server.requests("POST /v1/jobs")
    assert b'name="format"\r\n\r\n%s\r\n' % sent_format.encode() in sent.body


def test_a_picture_that_its_format_cannot_hold_is_named_as_what_it_is_over_nothing_that_exists(
    photos: list[str], run: Any
) -> None:
    with ScriptedServer(finished("png", "other_format")).running() as server:
        result = run(server.url, "enhance", photos[0], "-o", "a.webp")
    assert result.stdout == "a-2.png\n"
    assert "other_format" in result.stderr
    assert Path("a.png").read_bytes() == PHOTO


def test_a_folder_s_pictures_have_the_endings_of_what_they_became(
    tmp_path: Path, photos: list[str], run: Any
) -> None:
    for photo, name in zip(photos, ("照片" * 41 + ".png", "[red] b.png"), strict=True):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / photo).replace(tmp_path / "in" / name)
    (tmp_path / "in" / "b.heic").write_bytes(PHOTO[:-1])
    with ScriptedServer(finished("webp")).running() as server:
        result = run(server.url, "enhance", "in", "-r", "-o", "out")
        again = run(server.url, "enhance", "in", "-r", "-o", "out")
    assert result.exit_code == 0, result.stderr
    made = sorted(path.name for path in Path("out").iterdir())
    assert made == sorted([".retouch.jsonl", "[red] b.webp", "b.webp", "照片" * 41 + ".webp"])
    assert "0 done, 3 done before, 0 failed" in again.stderr


def test_a_name_that_is_no_utf8_is_sent_and_written(
    tmp_path: Path, photos: list[str], run: Any
) -> None:
    (tmp_path / "in").mkdir()
    odd = tmp_path / "in" / "\udcff\udcfe.png"
    (tmp_path / photos[0]).replace(odd)
    with ScriptedServer(finished("jpeg")).running() as server:
        result = run(server.url, "enhance", "in", "-r", "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "\udcff\udcfe.jpg").read_bytes() == PICTURE


def test_options_that_are_not_given_are_left_to_the_service(photos: list[str], run: Any) -> None:
    with ScriptedServer(script()).running() as server:
        run(server.url, "enhance", photos[0], "-o", "new.png")
    (sent,) = server.requests("POST /v1/jobs")
    for name in (b"lora", b"strength", b"steps", b"seed", b"force", b"prompt", b"sampler"):
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
