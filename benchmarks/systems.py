"""The systems that benchmarks/peers.py compares, each as: start, make a picture, stop.

All serve one picture of one photo with one LoRA; each may handle many requests in its own way.
"""

import base64
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.compiled import compiled_pipeline
from benchmarks.peer_servers.pipeline import PROMPT, QUALITY, STEPS, STRENGTH, Pipeline, Wish
from benchmarks.peer_venvs import ROOT, environment
from benchmarks.peers_plan import BARE, COMPILED, RETOUCH
from benchmarks.service import running_service, wait_for
from retouch.stack.ports import free_port

PATIENCE = httpx2.Timeout(600)
SERVERS = ROOT / "benchmarks" / "peer_servers"
WARM_BENTOML = 14  # its batching tries several sizes with the first dozen


@dataclass(frozen=True)
class System:
    """A system that makes pictures. `memory` is proportional (shared pages count once), MiB."""

    name: str
    picture: Callable[[Wish], bytes]
    memory: Callable[[], float]
    first_preview: Callable[[Wish], None]
    notes: str = ""
    warm: int = 2  # pictures before the measurement; compilation happens at the first one
    settled: Callable[[], None] = lambda: None  # returns once nothing is compiled beside the work
    key: str = ""  # its name in SYSTEMS


@contextmanager
def bare(loras: Path) -> Iterator[System]:
    """diffusers' loop called in this process, one picture after the other, LoRAs resident."""
    pipeline, lock = Pipeline(loras), threading.Lock()

    def picture(wish: Wish) -> bytes:
        with lock:
            return pipeline.pictures([wish])[0]

    yield _local(BARE, picture)


@contextmanager
def compiled(loras: Path) -> Iterator[System]:
    """The bare loop with a compiled UNet, one picture after the other, LoRAs swapped in place."""
    with compiled_pipeline(loras) as (picture, pid):
        yield _remote(COMPILED, picture, pid, "no server")


@contextmanager
def load_and_unload(loras: Path) -> Iterator[System]:
    """The same, with the LoRA loaded for every picture and dropped after it."""
    pipeline, lock = Pipeline(loras, resident=False), threading.Lock()

    def picture(wish: Wish) -> bytes:
        with lock:
            return pipeline.picture_with_load_and_unload(wish)

    yield _local("load and unload per request", picture)


def _local(name: str, picture: Callable[[Wish], bytes]) -> System:
    return System(name, picture, _own_memory, lambda wish: _ignore(picture(wish)), "no server")


@contextmanager
def litserve(loras: Path) -> Iterator[System]:
    with _server("litserve", ["litserve_server.py"], loras, "/health") as system:
        yield system


@contextmanager
def ray(loras: Path) -> Iterator[System]:
    with _server("ray", ["ray_server.py"], loras, "/-/healthz") as system:
        yield system


@contextmanager
def bentoml(loras: Path) -> Iterator[System]:
    peer, port = environment("bentoml"), free_port()
    module = "benchmarks.peer_servers.bentoml_server:Enhance"
    command = [peer.python, "-m", "bentoml", "serve", module, "--host", "127.0.0.1", "--port", port]
    with (
        _running(command, {"PEERS_LORAS": str(loras)}) as server,
        _http(port, "/readyz", server) as client,
    ):

        def picture(wish: Wish) -> bytes:
            answer = client.post("/enhance", json={"wishes": [wish.to_json()]})
            answer.raise_for_status()
            return _decoded(answer.json()[0])

        system = _remote(f"BentoML {peer.version}", picture, server.pid, "adaptive batching")
        yield replace(system, warm=WARM_BENTOML)


@contextmanager
def diffusers(loras: Path) -> Iterator[System]:
    with _server("diffusers", ["diffusers_server.py"], loras, "/health") as system:
        yield system


@contextmanager
def gradio(loras: Path) -> Iterator[System]:
    peer, port = environment("gradio"), free_port()
    command = [peer.python, SERVERS / "gradio_server.py", port, loras]
    with _running(command, {}) as server, _http(port, "/gradio_api/info", server) as client:

        def picture(wish: Wish) -> bytes:
            asked = client.post("/gradio_api/call/enhance", json={"data": [_json(wish)]}).json()
            answer = client.get(f"/gradio_api/call/enhance/{asked['event_id']}").text
            lines = [line for line in answer.splitlines() if line.startswith("data: ")]
            return _decoded(json.loads(lines[-1].removeprefix("data: "))[0])

        yield _remote(f"Gradio {peer.version}", picture, server.pid, "queue with batches")


@contextmanager
def retouch(loras: Path) -> Iterator[System]:
    """The whole service: a durable job, its end awaited, the finished JPEG fetched."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {"RETOUCH_LORAS_DIR": str(loras)}
        url, pid = stack.enter_context(running_service(folder, settings))
        service = Service(stack.enter_context(httpx2.Client(base_url=url, timeout=PATIENCE)))
        yield System(
            RETOUCH,
            service.picture,
            _memory_of(pid),
            service.preview,
            "durable jobs",
            settled=lambda: wait_for(f"{url}/v1/workers", _is_settled),
        )


def _is_settled(answer: httpx2.Response) -> bool:
    """Whether the worker has compiled its blocks, or will not."""
    (worker,) = answer.json()["items"]
    return worker["residency"]["compiled"]["state"] not in ("waiting", "compiling")


@dataclass(frozen=True)
class Service:
    """retouch over HTTP."""

    client: httpx2.Client
    form: Mapping[str, str] = field(
        default_factory=lambda: {
            "prompt": PROMPT,
            "strength": str(STRENGTH),
            "steps": str(STEPS),
            "guidance_scale": "1",
            "fidelity": "none",
            "format": "jpeg",
            "quality": str(QUALITY),
            "upscale": "1",
        }
    )

    def picture(self, wish: Wish) -> bytes:
        job = self._post(wish, preview=False)
        while job["state"] in ("queued", "running"):
            time.sleep(0.1)  # only after a minute of waiting
            job = self.client.get(job["links"]["self"]).json()
        assert job["state"] == "succeeded", job
        return self.client.get(job["links"]["image"]).raise_for_status().content

    def preview(self, wish: Wish) -> None:
        """Returns when the first preview is available."""
        job = self._post(wish, preview=True)
        with self.client.stream("GET", job["links"]["events"]) as events:
            for line in events.iter_lines():
                if line.startswith("event:") and line.split(":")[1].strip() in (
                    "preview",
                    "result",
                ):
                    break
        self.client.get(job["links"]["preview"]).raise_for_status()

    def _post(self, wish: Wish, preview: bool) -> dict[str, Any]:
        answer = self.client.post(
            "/v1/jobs",
            data={**self.form, "lora": wish.lora, "seed": str(wish.seed), "preview": str(preview)},
            files={"image": ("photo.jpg", wish.image, "image/jpeg")},
            headers={} if preview else {"Prefer": "wait=50"},
        )
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        return job


SYSTEMS = {
    "retouch": retouch,
    "bare": bare,
    "compiled": compiled,
    "seed": load_and_unload,
    "litserve": litserve,
    "bentoml": bentoml,
    "ray": ray,
    "gradio": gradio,
    "diffusers": diffusers,
}
NAMES = {"litserve": "LitServe", "ray": "Ray Serve", "diffusers": "diffusers' server"}


@contextmanager
def _server(peer: str, script: list[str], loras: Path, health: str) -> Iterator[System]:
    """A peer that accepts and returns JSON at /enhance."""
    installed, port = environment(peer), free_port()
    command = [installed.python, SERVERS / script[0], port, loras]
    with _running(command, {}) as server, _http(port, health, server) as client:

        def picture(wish: Wish) -> bytes:
            answer = client.post("/enhance", json=wish.to_json()).raise_for_status()
            return _decoded(answer.json()["image"])

        yield _remote(f"{NAMES[peer]} {installed.version}", picture, server.pid, "batches of 4")


def _remote(name: str, picture: Callable[[Wish], bytes], pid: int, notes: str) -> System:
    return System(name, picture, _memory_of(pid), lambda wish: _ignore(picture(wish)), notes)


@contextmanager
def _running(
    command: list[Any], environment_: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A server in its own session, so that nothing of it remains."""
    log = ROOT / "var" / "peers-venv" / f"{Path(str(command[0])).parents[1].name}.log"
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", **environment_}
    variables |= {"RAY_AUTH_MODE": "disabled"}  # otherwise it leaves a token in the home folder
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=variables, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for child in psutil.wait_procs(children, timeout=5)[1]:
        child.kill()


@contextmanager
def _http(port: int, health: str, server: "subprocess.Popen[bytes]") -> Iterator[httpx2.Client]:
    url = f"http://127.0.0.1:{port}"
    limits = httpx2.Limits(max_connections=None)
    wait_for(url + health, process=server)
    with httpx2.Client(base_url=url, timeout=PATIENCE, limits=limits) as client:
        yield client


def _own_memory() -> float:
    """This process, which is that of the two systems called in it and of the clients."""
    return float(psutil.Process().memory_full_info().pss) / 2**20


def _memory_of(pid: int) -> Callable[[], float]:
    def memory() -> float:
        parent = psutil.Process(pid)
        tree = [parent, *parent.children(recursive=True)]
        return float(sum(process.memory_full_info().pss for process in tree)) / 2**20

    return memory


def _json(wish: Wish) -> str:
    return json.dumps(wish.to_json())


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


def _ignore(_picture: bytes) -> None:
    """Only the time matters."""
