"""`retouch up`: everything starts, works together, and nothing stays behind."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from retouch import Client
from retouch.stack.ports import free_port
from tests.support.embedded_store import running_store
from tests.support.stack import (
    RunningUp,
    is_gone,
    listening_ports,
    retouch,
    running_up,
    starting_up,
)
from tests.support.wait import wait_until
from tests.support.workers import picture

ONLY_WHILE_IT_RUNS = {"lock", "store.url", "tmp"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """One stack for all tests after which it still runs."""
    with running_up(tmp_path_factory.mktemp("up")) as running:
        yield running


def temporary_files(data_dir: Path) -> list[Path]:
    """What may not outlive a stack: its own marks, sockets, files that were being written."""
    return [
        path
        for path in data_dir.rglob("*")
        if path.relative_to(data_dir).parts[0] in ONLY_WHILE_IT_RUNS
        or path.is_socket()
        or path.name.startswith((".", "temp-"))
        or path.suffix in (".part", ".tmp")
    ]


def assert_nothing_is_left(up: RunningUp, family: list[psutil.Process], ports: set[int]) -> None:
    wait_until(
        lambda: all(map(is_gone, family)), description="every process to be gone", seconds=15
    )
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} still answers"
    assert temporary_files(up.data_dir) == []
    assert list((up.data_dir.parent / "tmp").iterdir()) == []


def test_a_job_goes_through_gateway_store_and_worker(up: RunningUp, tmp_path: Path) -> None:
    # Given
    (tmp_path / "photo.webp").write_bytes(picture())
    # When
    done = retouch(["enhance", "photo.webp", "-o", "new.png"], tmp_path, url=up.url)
    # Then
    assert done.returncode == 0, done.stderr
    assert done.stdout == "new.png\n"
    assert (tmp_path / "new.png").read_bytes().startswith(b"\x89PNG")
    with Client(up.url) as client:
        # One that was killed before is remembered for a while.
        workers = {worker.pid for worker in client.workers()}
    assert workers & {process.pid for process in up.family()}


def test_after_sigkill_no_process_goes_on_and_after_sigterm_nothing_is_left(
    tmp_path: Path,
) -> None:
    # Given
    with running_up(tmp_path) as up:
        family = up.family()
        assert len(family) >= 5  # itself, store, gateway, worker and its engine process
        # When
        up.end(signal.SIGKILL)
        # Then
        wait_until(lambda: all(map(is_gone, family)), description="every process to end")
    with running_up(tmp_path) as again:
        family, ports = again.family(), listening_ports(again.family())
        assert len(ports) >= 2
        assert again.end(signal.SIGTERM) == 0
        assert_nothing_is_left(again, family, ports)


def test_fifty_jobs_from_eight_threads_on_two_workers_each_get_their_own_picture(
    tmp_path: Path,
) -> None:
    # Given ten photos, each sent five times with a seed of its own
    photos = [picture(seed=number) for number in range(10)]
    percentages: dict[int, list[float]] = {number: [] for number in range(50)}
    with running_up(tmp_path, "--workers", "2") as up, Client(up.url) as client:
        wait_until(lambda: len(client.workers()) == 2, description="both workers", seconds=30)

        def enhance(number: int) -> tuple[str | None, bytes]:
            job = client.submit(photos[number % 10], seed=number % 10, steps=10, strength=1.0)
            seen = percentages[number]
            done = client.wait(job, on_progress=lambda progress: seen.append(progress.percent))
            return done.worker, client.image(job)

        # When
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(enhance, range(50)))
    # Then equal requests have equal pictures, whoever made them, and others have others
    pictures = [data for _, data in results]
    assert all(data == pictures[number % 10] for number, data in enumerate(pictures))
    assert len(set(pictures)) == 10
    assert len({worker for worker, _ in results}) == 2
    for seen in percentages.values():
        assert seen == sorted(seen)
        assert seen[-1] == 100


def test_other_addresses_than_this_machines_are_refused_without_keys(tmp_path: Path) -> None:
    with starting_up(tmp_path, "--host", "0.0.0.0") as up:
        assert up.process.wait(timeout=90) == 1
    assert "The gateway ended" in up.said()
    assert "RETOUCH_API_KEYS" in up.said()


def test_flower_asks_for_its_password_and_ends_with_the_rest(tmp_path: Path) -> None:
    port = free_port()
    flower = f"http://127.0.0.1:{port}/"
    with running_up(tmp_path, "--flower", flower_port=str(port)) as up:
        # Given
        wait_until(lambda: port in listening_ports(up.family()), description="Flower", seconds=30)
        name, _, password = up.said().partition("(login ")[2].partition(")")[0].partition(":")
        # When
        refused, served = httpx2.get(flower), httpx2.get(flower, auth=(name, password))
        # Then
        assert (refused.status_code, served.status_code) == (401, 200)
        family, ports = up.family(), listening_ports(up.family())
        assert up.end() == 0
        assert_nothing_is_left(up, family, ports)


def test_a_page_that_was_refused_is_said_once_with_the_way_out(up: RunningUp) -> None:
    for _ in range(2):
        sent = httpx2.post(f"{up.url}/v1/jobs", headers={"Origin": "https://a.example"})
        headers = {"Origin": "https://b.example", "Access-Control-Request-Method": "POST"}
        asked = httpx2.request("OPTIONS", f"{up.url}/v1/jobs", headers=headers)
        assert (sent.status_code, asked.status_code) == (403, 400)

    for origin in ("https://a.example", "https://b.example"):
        hint = f"RETOUCH_CORS_ORIGINS={origin}"
        wait_until(lambda hint=hint: hint in up.said(), description=f"the hint about {origin}")
        assert up.said().count(hint) == 1


def test_a_worker_that_dies_is_said_and_replaced(up: RunningUp) -> None:
    # Given
    with Client(up.url) as client:
        # Those that an earlier test killed are remembered for a while.
        known = {worker.id for worker in client.workers()}
        # When
        up.child("worker").kill()
        # Then
        wait_until(
            lambda: {worker.id for worker in client.workers()} - known,
            description="another worker to announce itself",
            seconds=30,
        )
        job = client.wait(client.submit(picture()))
    assert job.state == "succeeded"
    assert "Worker 1 was killed by signal 9" in up.said()


def test_a_store_that_dies_comes_back_with_its_jobs(up: RunningUp) -> None:
    # Given
    with Client(up.url) as client:
        done = client.wait(client.submit(picture()))
        # When
        up.child("valkey-server").kill()
        # Then
        wait_until(
            lambda: "The store was killed" in up.said(), description="the restart to be said"
        )
        assert client.job(done).state == "succeeded"
        assert client.wait(client.submit(picture(seed=1))).state == "succeeded"


def test_jobs_that_do_not_fit_the_grace_go_on_after_a_restart(tmp_path: Path) -> None:
    # Given a job that takes much longer than the worker may take to end
    slow = {"grace_seconds": "0.5", "fake_step_seconds": "0.6"}
    with running_up(tmp_path, **slow) as up, Client(up.url) as client:
        job = client.submit(picture(), steps=20, strength=1.0)
        wait_until(lambda: client.job(job).progress.step >= 1, description="the first step")
        # When
        assert up.end(seconds=40) == 0
    # Then
    with running_up(tmp_path) as again, Client(again.url) as client:
        assert client.wait(job.id).state == "succeeded"


def test_a_second_signal_does_not_wait_for_running_jobs(tmp_path: Path) -> None:
    # Given a job of a minute, and a grace that would let it finish
    with running_up(tmp_path, fake_step_seconds="2", grace_seconds="60") as up:
        with Client(up.url) as client:
            job = client.submit(picture(), steps=30, strength=1.0)
            wait_until(lambda: client.job(job).state == "running", description="the job to run")
        family, ports = up.family(), listening_ports(up.family())
        # When
        up.process.send_signal(signal.SIGINT)
        wait_until(lambda: "Stopping" in up.said(), description="the first signal to be heard")
        time_apart = 0.4  # nearer together, two signals count as one
        with pytest.raises(psutil.TimeoutExpired):
            psutil.Process(up.process.pid).wait(timeout=time_apart)
        up.end(signal.SIGINT, seconds=15)
        # Then
        assert_nothing_is_left(up, family, ports)


def test_a_port_that_is_taken_is_named_together_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with starting_up(tmp_path, port=port) as up:
            assert up.process.wait(timeout=90) == 1
    assert f"Port {port} on 127.0.0.1 cannot be used" in up.said()
    assert f"--port {port + 1}" in up.said()


def test_a_folder_that_another_stack_uses_is_refused(up: RunningUp, tmp_path: Path) -> None:
    with starting_up(tmp_path / "second", "--data-dir", str(up.data_dir)) as second:
        assert second.process.wait(timeout=90) == 1
    assert "is in use by another `retouch up`" in second.said()
    assert up.process.poll() is None


def test_a_store_of_the_users_own_is_used_and_left_alone(tmp_path: Path) -> None:
    with running_store(tmp_path) as store_url:
        with running_up(tmp_path / "up", redis_url=store_url) as up, Client(up.url) as client:
            assert client.wait(client.submit(picture())).state == "succeeded"
            assert not any("valkey" in process.name() for process in up.family())
            assert not (up.data_dir / "store").exists()
        with socket.create_connection(("127.0.0.1", int(store_url.split(":")[2].split("/")[0]))):
            pass


def test_a_store_that_does_not_answer_is_named_together_with_a_way_out(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with starting_up(tmp_path, redis_url=url) as up:
        assert up.process.wait(timeout=90) == 1
    assert "No store answers at 127.0.0.1" in up.said()
    assert "unset that variable" in up.said()


def test_a_worker_that_cannot_start_ends_the_stack_with_its_last_words(tmp_path: Path) -> None:
    with starting_up(tmp_path, engine="diffusers", base_model=str(tmp_path)) as up:
        assert up.process.wait(timeout=90) == 1
    assert "Worker 1 ended" in up.said()
    assert "logs/worker-1.log" in up.said()
    assert temporary_files(up.data_dir) == []


def test_the_stores_password_is_in_no_processs_arguments(up: RunningUp) -> None:
    url = (up.data_dir / "store.url").read_text()
    assert (up.data_dir / "store.url").stat().st_mode & 0o077 == 0
    password = url.split("@")[0].rpartition(":")[2]
    assert len(password) == 32
    for process in up.family():
        assert password not in " ".join(process.cmdline())
