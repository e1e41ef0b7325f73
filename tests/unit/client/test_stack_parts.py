"""The pieces of the embedded stack: lock, ports, children, and keeping them alive."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from retouch.address import reachable_url
from retouch.stack.child_process import Child, ChildSpec
from retouch.stack.lock import FolderLock
from retouch.stack.plan import StackPlan, plan_parts
from retouch.stack.ports import free_port, require_free
from retouch.stack.refusal import ChildFailed, FolderRefused, PortTaken
from retouch.stack.supervisor import Supervisor
from shared.settings import Settings
from tests.support.stack import is_gone
from tests.support.wait import wait_until

SLEEP = "import time; print('here', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"


def spec(tmp_path: Path, code: str, *, name: str = "child", grace: float = 5.0) -> ChildSpec:
    return ChildSpec(
        name=name,
        title=name.title(),
        command=[sys.executable, "-c", code],
        environment=dict(os.environ),
        log=tmp_path / f"{name}.log",
        grace_seconds=grace,
    )


def says_here(log: Path, times: int = 1) -> bool:
    return log.exists() and log.read_text().count("here") >= times


def descendants() -> list[psutil.Process]:
    """What a test's children have become; the store of other tests is not among them."""
    everyone = psutil.Process().children(recursive=True)
    return [one for one in everyone if SLEEP in " ".join(one.cmdline())]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(said.append)
    said.clear()
    yield supervisor
    supervisor.end([lambda _: True], lambda: True)


said: list[str] = []


def test_a_folder_belongs_to_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(FolderRefused, match=f"process {os.getpid()}"):
        second.acquire(wait_seconds=0)
    first.release()
    second.acquire(wait_seconds=0)
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_together_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderRefused, match=r"file/data cannot be used: Not a dir.*--data-dir"):
        FolderLock(tmp_path / "file" / "data").acquire()


def test_a_lock_ends_with_its_process_even_if_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from retouch.stack.lock import FolderLock;"
        f"FolderLock(Path({str(tmp_path)!r})).acquire(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    lock = FolderLock(tmp_path)
    lock.acquire(wait_seconds=1)
    lock.release()


def test_a_free_port_is_none_that_an_outgoing_connection_could_take_before_it_is_used() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(free_port() < lowest for _ in range(20))


def test_a_port_that_is_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr("retouch.stack.ports.CHOICES", range(port, port + 1))
    monkeypatch.setattr("retouch.stack.ports.TRIES", 1)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken, match="1 were tried"):
        free_port()


def test_a_taken_port_is_named_together_with_a_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*--port {port + 1}"):
            require_free("127.0.0.1", port, "--port")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("box.lan", "http://box.lan:80"),
    ],
)
def test_a_server_is_found_by_an_address_that_can_be_opened(host: str, url: str) -> None:
    assert reachable_url(host, 80) == url


def test_a_child_ends_on_request_within_its_grace(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, SLEEP))
    child.start()
    wait_until(lambda: says_here(child.spec.log), description="the child's first line")
    child.terminate()
    child.end(lambda: False)
    assert not child.is_running
    assert child.last_lines() == "here"


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, STUBBORN, grace=0.2))
    child.start()
    wait_until(lambda: says_here(child.spec.log), description="the child's first line")
    child.terminate()
    child.end(lambda: False)
    assert not child.is_running


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    # Given a child with a child of its own
    child = Child(spec(tmp_path, PARENT))
    child.start()
    wait_until(lambda: says_here(child.spec.log, 2), description="both to be there")
    family = descendants()
    assert len(family) == 2
    # When
    child.terminate()
    child.end(lambda: False)
    # Then
    wait_until(lambda: all(map(is_gone, family)), description="the end of both", seconds=5)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    # Given a process that starts a child the way the stack does
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from retouch.stack.child_process import Child, ChildSpec;"
        f"child = Child(ChildSpec('c', 'C', [sys.executable, '-c', {STUBBORN!r}],"
        f" dict(os.environ), Path({str(tmp_path / 'c.log')!r})));"
        "child.start(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until(lambda: says_here(tmp_path / "c.log"), description="the grandchild")
        (grandchild,) = psutil.Process(parent.pid).children()
        # When
        parent.send_signal(signal.SIGKILL)
    # Then
    wait_until(lambda: is_gone(grandchild), description="the grandchild's end", seconds=5)


def test_a_childs_last_lines_are_those_of_its_last_start(tmp_path: Path) -> None:
    child = Child(spec(tmp_path, "print('again')"))
    for _ in range(2):
        child.start()
        wait_until(lambda: child.needs_reaping, description="the child's end")
        child.reap()
    assert child.spec.log.read_text() == "again\nagain\n"
    assert child.last_lines() == "again"


def test_a_child_that_fails_at_the_start_is_reported_with_its_last_words(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    supervisor.start(spec(tmp_path, "import sys; sys.exit('no model here')", name="worker-1"))
    with pytest.raises(ChildFailed, match="no model here") as caught:
        wait_until(supervisor.require_alive, description="the failure to be noticed")
    assert str(tmp_path / "worker-1.log") in str(caught.value)


def test_a_child_that_dies_later_is_said_and_started_again(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    # Given
    supervisor.start(spec(tmp_path, SLEEP, name="worker-1"))
    supervisor.settle()
    log = tmp_path / "worker-1.log"
    wait_until(lambda: says_here(log), description="the first start")
    (first,) = descendants()
    # When
    first.kill()
    # Then
    wait_until(lambda: says_here(log, 2), description="the second start")
    assert len(said) == 1
    assert "Worker-1 was killed by signal 9" in said[0]
    assert "in 1 s" in said[0]


def test_children_end_in_the_order_that_is_asked_for(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    # Given three children that note when they are asked to end
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        f"    open({str(tmp_path / 'order')!r}, 'a').write(sys.argv[1] + ' '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('here', flush=True); time.sleep(60)"
    )
    for name in ("store", "gateway", "worker-1"):
        one = spec(tmp_path, code, name=name)
        supervisor.start(ChildSpec(**{**vars(one), "command": [*one.command, name]}))
    for name in ("store", "gateway", "worker-1"):
        wait_until(lambda name=name: says_here(tmp_path / f"{name}.log"), description=name)
    supervisor.settle()
    # When
    order = [
        lambda name, wanted=wanted: name == wanted for wanted in ("worker-1", "gateway", "store")
    ]
    supervisor.end(order, lambda: False)
    # Then
    assert (tmp_path / "order").read_text() == "worker-1 gateway store "


def test_a_free_port_can_be_bound() -> None:
    require_free("127.0.0.1", free_port(), "--port")


@pytest.mark.parametrize(
    ("workers", "store", "expected"),
    [(1, None, "true"), (2, None, None), (1, "redis://elsewhere", None)],
)
def test_a_worker_is_told_that_it_is_the_only_one_where_that_is_known(
    tmp_path: Path, workers: int, store: str | None, expected: str | None
) -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    plan = StackPlan(settings, tmp_path, "127.0.0.1", 1, workers, external_store=store)
    worker = plan_parts(plan, store or "redis://ours", tmp_path).specs[0]
    assert worker.environment.get("RETOUCH_ONLY_WORKER") == expected
