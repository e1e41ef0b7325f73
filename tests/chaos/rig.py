"""Everything that one chaos test drives: store, workers, jobs, faults, and the final check."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from retouch.stack.ports import free_port
from shared.blobs import FolderBlobs
from shared.errors import JobNotFound, RetouchError
from shared.jobs import Job, JobSpec, JobState
from shared.ledger.fleet import Fleet, WorkerInfo
from shared.ledger.queue import Hints, make_celery
from shared.ledger.records import Idempotency
from shared.ledger.redis_client import connect
from shared.ledger.store import JobStore
from shared.settings import Settings
from tests.chaos.checker import Checker
from tests.chaos.history import History
from tests.chaos.servers import StoreServer
from tests.support.wait import wait_until
from tests.support.workers import REPOSITORY, picture, spec_with_picture

BASE = "tiny"


class Worker:
    """One `python -m worker`: the supervisor, and the engine process below it."""

    def __init__(self, process: subprocess.Popen[bytes], base: str) -> None:
        self.process = process
        self.base = base

    def engine(self) -> psutil.Process | None:
        """The engine process, when there is one."""
        try:
            pids = children_of(self.process.pid)
            return psutil.Process(pids[0]) if pids else None
        except psutil.NoSuchProcess:
            return None

    def signal_engine(self, number: signal.Signals) -> bool:
        """Send a signal to the engine process; False when there is none."""
        engine = self.engine()
        if engine is None:
            return False
        try:
            engine.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True

    def kill_tree(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def owns(self, worker_id: str) -> bool:
        return f"-{self.process.pid}-" in worker_id


def children_of(pid: int) -> list[int]:
    """A process's children. psutil would look at every process there is, many times a second."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return [child.pid for child in psutil.Process(pid).children()]


class Rig:
    """Made for one test. `settings` are those of gateway and workers."""

    def __init__(
        self, folder: Path, server: StoreServer, base_folder: Path, url: str, **settings: object
    ) -> None:
        self.folder = folder
        self.server = server
        self.history = History(folder / "faults")
        (folder / "loras").mkdir(exist_ok=True)
        defaults: dict[str, object] = {
            "redis_url": url,
            "data_dir": folder / "data",
            "loras_dir": folder / "loras",
            "base_model": str(base_folder),
            "engine": "fake",
            "guards": "off",
            "fake_faults": str(self.history.folder),
            "restart_seconds": 0.2,
            "restart_max_seconds": 0.5,
            "max_crashes": 100,
        }
        self._given = defaults | settings
        self.settings = Settings(_env_file=None, **self._given)  # type: ignore[arg-type]
        self.client = server.client()
        direct = self.settings.model_copy(update={"redis_url": server.url})
        self.store = JobStore(self.client, direct)
        self.fleet = Fleet(self.client)
        self.blob_folder = folder / "data" / "blobs"
        self.blobs = FolderBlobs(self.blob_folder, 86_400)
        self.hints = Hints(make_celery(direct, BASE), BASE)
        self.base_folders = {BASE: base_folder}
        self.workers: list[Worker] = []
        self.gateways: list[subprocess.Popen[bytes]] = []
        self._sources = [picture(16, 12, seed) for seed in range(4)]
        self._seed = 0
        self.random = random.Random(20_26)

    def follow_url(self) -> None:
        """Reaches the store as workers do, wherever Sentinels say that it is."""
        self.client.close()
        self.client = connect(self.settings.redis_url, 5.0)
        self.store, self.fleet = JobStore(self.client, self.settings), Fleet(self.client)
        self.hints = Hints(make_celery(self.settings, BASE), BASE)

    def takes_writes(self) -> bool:
        """Whether the store can be written to, by a client that waits for no replica."""
        try:
            self.store.count("written")
        except RetouchError:
            return False
        return True

    def is_known(self, spec: JobSpec) -> bool:
        try:
            return self.store.get(spec.id).id == spec.id
        except JobNotFound:
            return False

    # --- the fleet

    def environment(self, **overrides: object) -> dict[str, str]:
        """The settings as a process gets them."""
        values = {f"RETOUCH_{name.upper()}": str(value) for name, value in self._given.items()}
        ours = {f"RETOUCH_{name.upper()}": str(value) for name, value in overrides.items()}
        return {**os.environ, **values, **ours}

    def start_worker(
        self,
        wait: bool = True,
        program: Sequence[str] = ("worker",),
        base: str = BASE,
        **overrides: object,
    ) -> Worker:
        """One more worker; returns when it has announced itself."""
        overrides = {"base_model": self.base_folders[base]} | overrides
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *program],
                cwd=REPOSITORY,
                env=self.environment(**overrides),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = Worker(process, base)
        self.workers.append(worker)
        if wait:
            self.wait_ready(worker)
        return worker

    def add_base(self, checkpoint: str) -> str:
        """Another checkpoint of the same family, for which every other job is from now on."""
        folder = self.folder / checkpoint
        shutil.copytree(self.base_folders[BASE], folder)
        name = f"{BASE}/{checkpoint}"
        self.base_folders[name] = folder
        return name

    def start_gateway(
        self, wait: bool = True, program: Sequence[str] = ("api",), **overrides: object
    ) -> str:
        """The real gateway on a port of its own; its address."""
        port = free_port()
        with (self.folder / "gateway.log").open("ab") as log:
            gateway = subprocess.Popen(
                [sys.executable, "-m", *program],
                cwd=REPOSITORY,
                env=self.environment(port=port, **overrides),
                stdout=log,
                stderr=log,
            )
        self.gateways.append(gateway)
        address = f"http://127.0.0.1:{port}"
        if wait:
            wait_until(lambda: answers(f"{address}/healthz"), description="the gateway", seconds=60)
        return address

    def start_workers(self, count: int, **overrides: object) -> list[Worker]:
        started = [self.start_worker(wait=False, **overrides) for _ in range(count)]
        for worker in started:
            self.wait_ready(worker)
        return started

    def wait_ready(self, worker: Worker) -> WorkerInfo:
        """Until its engine process lives and takes hints."""

        def ready() -> WorkerInfo | None:
            info = self.info(worker)
            return info if info and self._takes_hints(info.id) else None

        return wait_until(ready, description="a worker to be ready", seconds=90, every=0.1)  # type: ignore[return-value]

    def _takes_hints(self, worker_id: str) -> bool:
        log = (self.folder / "workers.log").read_text(errors="replace")
        return f"{worker_id}@{socket.gethostname()} ready." in log

    def info(self, worker: Worker) -> WorkerInfo | None:
        """What this worker's living engine process says of itself."""
        engine = worker.engine()
        try:
            known = self.fleet.workers()
        except RetouchError:
            return None
        return next((one for one in known if engine and one.pid == engine.pid), None)

    def close(self) -> None:
        """End all processes, at once and for good."""
        for gateway in self.gateways:
            gateway.kill()
            gateway.wait()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill_tree()
        self.client.close()

    # --- jobs

    def make_job(self, client: str = "anonymous", **params: object) -> JobSpec:
        """A job with a seed of its own, by which its steps are told apart in the history."""
        self._seed += 1
        wanted: dict[str, object] = {
            "lora_mode": "none",
            "seed": self._seed,
            "steps": 4,
            "strength": 1.0,
            "prompt": "sharp",
            "negative_prompt": "",
        }
        data = self._sources[self._seed % len(self._sources)]
        spec = spec_with_picture(self.blobs, data, **(wanted | params))
        bases = list(self.base_folders)
        base = bases[self._seed % len(bases)]
        return spec.model_copy(update={"client": client, "base": base})

    def submit(
        self,
        client: str = "anonymous",
        hint: bool = True,
        idempotency: Idempotency | None = None,
        **params: object,
    ) -> JobSpec:
        """Put a job before the fleet; acknowledged, and in the history, once this returns."""
        return self.submit_spec(self.make_job(client, **params), hint, idempotency)

    def submit_spec(
        self, spec: JobSpec, hint: bool = True, idempotency: Idempotency | None = None
    ) -> JobSpec:
        """The same with a job that is made already."""
        try:
            self.store.submit(spec, idempotency)
        except RetouchError as error:
            self.history.note("refused", job=spec.id, code=error.code)
            raise
        self.history.note("submitted", job=spec.id, seed=spec.params.seed)
        if hint:
            with suppress(RetouchError):  # as in the gateway: the reaper sends another
                self.hints.send(spec.id, base=spec.base)
        return spec

    def state(self, job_id: str) -> JobState:
        return self.store.get(job_id).state

    def wait_for_end(self, specs: Iterable[JobSpec], seconds: float) -> list[Job]:
        """Every job, ended."""
        missing = {spec.id for spec in specs}
        ended: list[Job] = []

        def all_ended() -> bool:
            for job_id in list(missing):
                try:
                    job = self.store.get(job_id)
                except RetouchError as error:
                    if error.code == "job_not_found":
                        raise
                    return False
                if job.state.is_terminal:
                    missing.discard(job_id)
                    ended.append(job)
            return not missing

        wait_until(all_ended, description="every job to end", seconds=seconds, every=0.1)
        return ended

    def wait_for_step(self, spec: JobSpec, step: int = 1, seconds: float = 60) -> None:
        """Until the engine has begun this step of this job."""
        wait_until(
            lambda: self.history.lines("step", seed=spec.params.seed, step=step),
            description=f"step {step} of {spec.id}",
            seconds=seconds,
        )

    # --- the verdict

    def settle(self, seconds: float = 60) -> None:
        """Wait for what follows a commit: jobs leave their workers' hands."""
        wait_until(
            lambda: not any(worker.in_flight for worker in self.fleet.workers()),
            description="the workers to be idle",
            seconds=seconds,
            every=0.2,
        )

    def check(self) -> None:
        """Hold every invariant over the whole history."""
        checker = Checker(self.client, self.store, self.blobs, self.blob_folder, self.history)
        violations = checker.check()
        assert not violations, "\n".join(violations)

    def assert_on_own_bases(self, specs: Iterable[JobSpec]) -> None:
        """Every claim of every job was made by a worker of the job's base."""
        for spec in specs:
            for line in self.history.lines("claimed", job=spec.id):
                [owner] = [one for one in self.workers if one.owns(line["worker"])]
                assert owner.base == spec.base, (spec.id, spec.base, line)

    def tally(self, specs: Sequence[JobSpec]) -> dict[str, int]:
        """What went wrong with acknowledged jobs that were to succeed, in numbers."""
        checker = Checker(self.client, self.store, self.blobs, self.blob_folder, self.history)
        wrong = [line for line in checker.check() if "bytes" in line or "picture" in line]
        commits = Counter(line["job"] for line in self.history.lines("committed"))
        lost = [spec for spec in specs if self.state(spec.id) is not JobState.SUCCEEDED]
        return {
            "jobs": len(specs),
            "lost": len(lost),
            "committed_twice": sum(count > 1 for count in commits.values()),
            "wrong_bytes": len(wrong),
        }

    def assert_all(self, jobs: Sequence[Job], state: JobState = JobState.SUCCEEDED) -> None:
        others = [(job.id, job.state, job.failure) for job in jobs if job.state is not state]
        assert not others, f"not {state}: {others}"


def answers(address: str) -> bool:
    """Whether an HTTP server says yes there."""
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
