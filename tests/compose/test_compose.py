"""`docker compose up --scale worker=2`, for real. Run by `make compose-test`; needs Docker."""

import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from retouch.client import Client
from tests.support.wait import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTO = REPOSITORY / "examples" / "portrait.jpg"
JOBS = 12

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]

# Images may have to be built where only the host's network reaches a package index.
OVERRIDE = {
    "version": "3.8",
    "services": {name: {"build": {"network": "host"}} for name in ("api", "worker", "flower")},
}


class Fleet:
    """A compose project of this repository on ports of its own."""

    def __init__(self, folder: Path, *more: str, **environment: str) -> None:
        override = folder / "override.json"
        override.write_text(json.dumps(OVERRIDE))
        files = (REPOSITORY / "docker-compose.yml", *(REPOSITORY / name for name in more), override)
        self.port, self.flower_port = _free_port(), _free_port()
        self._environment = os.environ | environment
        self._environment |= {
            "RETOUCH_PORT": str(self.port),
            "RETOUCH_FLOWER_PORT": str(self.flower_port),
            "RETOUCH_FLOWER_AUTH": "watcher:secret",
        }
        self._command = [
            *_compose(),
            *("--project-name", "retouch-test", "--profile", "monitor"),
            *("--project-directory", str(REPOSITORY)),
            *(word for path in files for word in ("-f", str(path))),
        ]

    def run(self, *arguments: str) -> str:
        answer = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]
        return answer.stdout


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _compose() -> list[str]:
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        return ["docker-compose"]
    return ["docker", "compose"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    running = Fleet(tmp_path_factory.mktemp("compose"))
    running.run("build")
    try:
        running.run("up", "--detach", "--scale", "worker=2")
        yield running
    finally:
        print(running.run("logs", "--no-color", "--tail", "60"))
        running.run("down", "--volumes", "--timeout", "20")


@pytest.fixture(scope="module")
def client(fleet: Fleet) -> Iterator[Client]:
    client = Client(f"http://127.0.0.1:{fleet.port}")

    def two_workers() -> bool:
        try:
            return len(client.workers()) == 2
        except Exception:
            return False

    wait_until(two_workers, description="two workers in the fleet", seconds=120, every=0.5)
    with client:
        yield client


def inside(service: str, *command: str) -> str:
    names = subprocess.run(
        ["docker", "ps", "--filter", f"name=retouch-test.{service}.", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    answer = subprocess.run(
        ["docker", "exec", names[0], *command], capture_output=True, text=True, check=False
    )
    return answer.stdout + answer.stderr


def test_both_workers_take_jobs_and_every_picture_is_finished(client: Client) -> None:
    with ThreadPoolExecutor(4) as threads:
        jobs = list(
            threads.map(
                lambda seed: client.wait(client.submit(PHOTO, lora="none", seed=seed)), range(JOBS)
            )
        )
    assert {job.state for job in jobs} == {"succeeded"}
    assert len({job.worker for job in jobs}) == 2
    for job in jobs:
        assert Image.open(io.BytesIO(client.image(job))).format == "JPEG"


@pytest.mark.usefixtures("client")
def test_the_api_image_holds_no_torch() -> None:
    probe = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('diffusers'))"
    assert inside("api", "python3", "-c", probe).strip() == "None None"


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("service", ["api", "worker"])
def test_containers_are_no_root_and_cannot_write_to_themselves(service: str) -> None:
    assert inside(service, "id", "-u").strip() == "10001"
    assert "Read-only" in inside(service, "touch", "/app/x")
    assert "Read-only" in inside(service, "touch", "/loras/x")


@pytest.mark.usefixtures("client")
def test_only_loopback_ports_are_published_and_the_store_is_not(fleet: Fleet) -> None:
    ports = subprocess.run(
        ["docker", "ps", "--filter", "name=retouch-test", "--format", "{{.Names}} {{.Ports}}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    published = [line for line in ports.splitlines() if "->" in line]
    assert published
    assert all("127.0.0.1:" in line and "0.0.0.0:" not in line for line in published)
    assert not any("redis" in line for line in published)
    assert str(fleet.port) in ports


@pytest.mark.usefixtures("client")
def test_flower_shows_the_fleet_to_whoever_has_the_password(fleet: Fleet) -> None:
    def page(*credentials: str) -> str:
        address = f"http://127.0.0.1:{fleet.flower_port}/workers?json=1"
        command = ["curl", "-s", "-w", "%{http_code}", *credentials, address]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def alive() -> int:
        answer = page("-u", "watcher:secret")
        if not answer.endswith("200"):
            return 0
        return sum(bool(worker["status"]) for worker in json.loads(answer[:-3])["data"])

    wait_until(lambda: page().endswith("401"), description="flower's refusal", seconds=60)
    wait_until(lambda: alive() == 2, description="flower to list two workers", seconds=60)


def test_a_worker_that_is_scaled_away_loses_nothing(fleet: Fleet, client: Client) -> None:
    before = {worker.id for worker in client.workers()}
    jobs = [client.submit(PHOTO, lora="none", seed=seed) for seed in range(8)]
    fleet.run("up", "--detach", "--no-recreate", "--scale", "worker=1")
    assert {client.wait(job).state for job in jobs} == {"succeeded"}

    # The order of tests is random: the next one may want two workers again.
    fleet.run("up", "--detach", "--no-recreate", "--scale", "worker=2")
    wait_until(
        lambda: len(ids := {worker.id for worker in client.workers()}) == 2 and bool(ids - before),
        description="a second worker again",
        seconds=120,
        every=0.5,
    )
