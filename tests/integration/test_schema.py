"""Schemathesis with all its checks on the running service: what OpenAPI promises is what is there.

`slow`: it takes minutes. Run with `pytest -m slow tests/integration/test_schema.py -s`.
"""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.support.pictures import photo
from tests.support.stack import RunningUp, running_up
from tests.support.wait import wait_until

EXAMPLES = 60


def ids_of_a_finished_job(up: RunningUp) -> dict[str, str]:
    """What a path may name: a job with a picture, an upload, a LoRA."""
    files = {"image": ("photo.jpg", photo())}
    job = httpx2.post(f"{up.url}/v1/jobs", files=files, data={"lora": "none"}, timeout=60).json()
    image = httpx2.post(f"{up.url}/v1/images", files=files, timeout=60).json()
    loras = httpx2.get(f"{up.url}/v1/loras").json()["items"]
    state = f"{up.url}{job['links']['self']}"
    wait_until(
        lambda: httpx2.get(state).json()["state"] == "succeeded",
        description="the job to end",
        seconds=60,
        every=0.2,
    )
    return {"job_id": job["id"], "image_id": image["id"], "name": loras[0]["name"]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ids", ["drawn", "real"])
def test_every_answer_is_as_the_document_says(ids: str, tmp_path: Path) -> None:
    with running_up(tmp_path, queue_limit="100000", allow_anonymous="1") as up:
        if ids == "real":
            named = ids_of_a_finished_job(up).items()
            lines = [f'"path.{name}" = "{value}"' for name, value in named]
            (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines]))
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("run", f"{up.url}/openapi.json", "--checks", "all", "--no-color"),
                *("--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "70"),
                # A protocol of its own, whose answers depend on the message.
                *("--exclude-path", "/mcp"),
                # Another key's job is a 404 here, by design not an authorisation error; ids of
                # deleted things stay readable; and what is positive by its schema may still be no
                # picture.
                *("--exclude-checks", "positive_data_acceptance,use_after_free"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1700,
            check=False,
        )
        print(ended.stdout[-6000:])

        assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2000:]
        log = (up.data_dir / "logs" / "gateway.log").read_text()
        assert "unforeseen error" not in log
