"""A fleet of three bases behind two gateways, with real worker processes and the fake engine."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import redis

from shared.ledger.fleet import Fleet
from tests.support.gateways import running_gateway
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.support.workers import running_worker
from tests.unit.loras.lora_files import sd15_specs, tiny_specs, write_lora
from worker.process import exits

Start = Callable[..., subprocess.Popen[bytes]]


def checkpoint(folder: Path, width: int, weights: bytes = b"") -> Path:
    """What the fleet reads of a checkpoint with text embeddings of this width."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"cross_attention_dim": width}))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionImg2ImgPipeline"}')
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def start(tmp_path: Path, store_url: str, redis_client: redis.Redis) -> Iterator[Start]:
    """Starts a worker of a checkpoint; all end with the test."""
    del redis_client  # empties the store first
    with ExitStack() as stack:

        def begin(base: Path, **changes: str) -> subprocess.Popen[bytes]:
            environment = {
                "RETOUCH_ENGINE": "fake",
                "RETOUCH_GUARDS": "off",
                "RETOUCH_FAKE_STEP_SECONDS": "0.05",
                "RETOUCH_REDIS_URL": store_url,
                "RETOUCH_BASE_MODEL": str(base),
                "RETOUCH_DATA_DIR": str(tmp_path / "data"),
                "RETOUCH_LORAS_DIR": str(tmp_path / "loras"),
                "RETOUCH_GRACE_SECONDS": "1",
                "RETOUCH_RESTART_SECONDS": "0.1",
            }
            log = tmp_path / f"worker-{base.name}.log"
            return stack.enter_context(running_worker(environment | changes, log))

        yield begin


# One client for all: each would read the certificates first. It keeps no connection.
http = httpx2.Client(timeout=90, verify=False, limits=httpx2.Limits(max_keepalive_connections=0))


def send(url: str, **fields: str) -> dict[str, Any]:
    def take() -> httpx2.Response | None:
        answer = http.post(f"{url}/v1/jobs", files={"image": photo()}, data=fields)
        # A worker that gets no processor time for ten seconds is away until it does.
        return None if answer.status_code == 400 else answer

    answer = wait_until(take, description="its base to be served", seconds=60, every=0.5)
    assert answer is not None
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def ended(url: str, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        seen: dict[str, Any] = http.get(f"{url}/v1/jobs/{job['id']}").json()
        return seen if seen["state"] in ("succeeded", "failed", "canceled") else None

    found = wait_until(look, description=f"job {job['id']} to end", seconds=30, every=0.1)
    assert found is not None
    return found


def test_jobs_go_to_the_bases_that_they_were_made_for_and_nowhere_else(
    tmp_path: Path, store_url: str, redis_client: redis.Redis, start: Start
) -> None:
    # Given two gateways and workers of two families, one of them with two checkpoints
    (tmp_path / "loras").mkdir()
    write_lora(tmp_path / "loras" / "face_restore_tiny.safetensors", tiny_specs())
    write_lora(tmp_path / "loras" / "skin_v1.5.safetensors", sd15_specs())
    tiny = checkpoint(tmp_path / "a" / "tiny", 64)
    dream = checkpoint(tmp_path / "dreamshaper-8", 768, b"dream")
    real = checkpoint(tmp_path / "realistic", 768, b"real")
    shared = {"redis_url": store_url, "data_dir": str(tmp_path / "data")}
    shared |= {"loras_dir": str(tmp_path / "loras"), "base_model": str(tiny)}
    fleet = Fleet(redis_client)
    with (
        running_gateway(tmp_path / "one", **shared) as one,
        running_gateway(tmp_path / "two", **shared) as two,
    ):
        workers = {base.name: start(base) for base in (tiny, dream, real)}
        wait_until(lambda: len(fleet.workers()) == 3, description="three workers", seconds=90)

        # Then a LoRA of the family that joined is available within five seconds
        wait_until(
            lambda: (
                http.get(f"{two.url}/v1/loras/skin").json()["served_by"]
                == ["sd15/dreamshaper-8", "sd15/realistic"]
            ),
            description="the LoRA to be served",
            seconds=5,
        )

        # And every job is done by a worker of its base, whichever gateway took it
        asked = {
            "tiny": {"lora": "face_restore"},
            "sd15/dreamshaper-8": {"lora": "skin"},
            "sd15/realistic": {"lora": "skin", "base": "realistic"},
        }
        by_id = {worker.id: worker.base for worker in fleet.workers()}
        for url in (one.url, two.url):
            for base, fields in asked.items():
                job = ended(url, send(url, **fields))
                assert (job["state"], job["base"], by_id[job["worker"]]) == (
                    "succeeded",
                    base,
                    base,
                )

        # When a base's only worker is killed with a job, the other checkpoint leaves it alone
        slow = send(one.url, lora="skin", base="realistic", steps="50", strength="1")
        address = f"{two.url}/v1/jobs/{slow['id']}"
        wait_until(
            lambda: http.get(address).json()["state"] == "running", description="the job to run"
        )
        for process in psutil.Process(workers["realistic"].pid).children(recursive=True):
            process.send_signal(signal.SIGKILL)
        job = ended(two.url, slow)
        assert (job["state"], job["base"], job["attempt"]) == ("succeeded", "sd15/realistic", 2)
        assert job["worker"].startswith(f"{fleet.workers()[0].host}-{workers['realistic'].pid}-")

        # And other weights under a name that is in use do not start
        other = checkpoint(tmp_path / "b" / "dreamshaper-8", 768, b"other weights")
        assert start(other).wait(timeout=60) == exits.CANNOT_START
        log = (tmp_path / "worker-dreamshaper-8.log").read_text()
        assert "serves 'sd15/dreamshaper-8' with other weights" in log
