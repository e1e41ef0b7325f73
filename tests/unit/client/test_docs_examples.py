"""The Python examples of the documentation, run as they stand against a scripted service."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from shared.settings import REPOSITORY
from tests.unit.client.scripted_server import (
    Answer,
    ScriptedServer,
    as_json,
    event,
    job,
    problem,
    stream,
)

PAGES = ("README.md", "docs/client.md")
ADDRESS = "http://127.0.0.1:8000"
PICTURE = b"a picture"
SCRIPT = {
    "GET /v1/jobs/j1/events": [stream(event(1, "progress", percent=50.0), event(2, "result"))],
    "GET /v1/jobs/j1": [as_json(job("succeeded"))],
    "GET /v1/jobs/j1/image": [
        Answer(
            200, PICTURE, {"ETag": f'"{sha256(PICTURE).hexdigest()}"', "Content-Type": "image/png"}
        )
    ],
    "GET /v1/loras": [as_json({"items": [{"name": "denoise", "state": "available"}]})],
}
ACCEPTED = [as_json(job(), 202)]


def examples() -> list[tuple[str, str]]:
    return [
        (f"{page}:{number}", code)
        for page in PAGES
        for number, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", (REPOSITORY / page).read_text(), re.M | re.S)
        )
    ]


def run(
    code: str, submissions: list[Answer], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)
    Path("photo.jpg").write_bytes(b"a photo")
    with ScriptedServer(SCRIPT | {"POST /v1/jobs": submissions}).running() as server:
        assert ADDRESS in code
        exec(compile(code.replace(ADDRESS, server.url), "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize(("place", "code"), examples(), ids=[place for place, _ in examples()])
def test_an_example_runs(
    place: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(code, ACCEPTED, monkeypatch, tmp_path)
    if ".save(" in code:
        assert Path("better.png").read_bytes() == PICTURE, place


def test_the_example_of_errors_meets_the_error_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = (code for _, code in examples() if "LoraNotFound" in code)
    run(code, [problem(404, "lora_not_found")], monkeypatch, tmp_path)
    assert capsys.readouterr().out == "this service offers: ['denoise']\n"
