"""Blocks with code by torch's own compiler: made, kept, loaded, equal."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from structlog.testing import capture_logs

from tests.support.compiled_blocks import SECONDS, Running, inputs, likeness, running
from tests.support.wait import wait_until
from worker.engine.compiled.shelf import CODE, FACTS
from worker.engine.compiled.toolchain import has_compiler
from worker.engine.compiled.use import NAME, USUAL

# The compiler takes most of a minute of processor time, once for this file.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def without_compiler(*_arguments: Any, **_named: Any) -> Any:
    raise AssertionError("nothing is to be compiled")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the network's kind, made as a worker makes it."""
    if not has_compiler():
        pytest.skip("no C++ compiler: set CXX or install g++")
    folder = tmp_path_factory.mktemp("compiled")
    with running(folder, makes=True) as each:
        each.settle()
        assert each.background.shown()["in_use"] == 1
        wait_until(lambda: each.background.state == "ready", description="the end", seconds=SECONDS)
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    for path in made.glob("*/*"):
        own = tmp_path / path.relative_to(made)
        own.parent.mkdir(exist_ok=True)
        own.write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def in_use(made: Path) -> Iterator[Running]:
    """The network after a restart."""
    with running(made) as each:
        each.settle()
        yield each


@pytest.mark.parametrize("size", [(1, 12, 20), (2, 2, 7), (3, 64, 32)])
def test_one_code_serves_every_size_and_batch(in_use: Running, size: tuple[int, int, int]) -> None:
    given = inputs(*size)
    output, names = in_use.run(*given)
    expected = in_use.run_usual(*given)
    assert names == {NAME}
    assert (output.shape, output.stride()) == (expected.shape, expected.stride())
    assert likeness(output, expected) > 90
    assert in_use.background.shown()["kinds"] == 1


def test_a_merged_lora_takes_effect_in_code_at_once(in_use: Running) -> None:
    given = inputs()
    before, _ = in_use.run(*given)
    for network in (in_use.network, in_use.usual):
        for block in network.blocks:
            # As worker/engine/lora/merging.py does it.
            merged = block.conv2.weight.data * 1.5
            block.conv2.weight.data = torch.empty_like(block.conv2.weight).copy_(merged)
    after, names = in_use.run(*given)
    assert names == {NAME}
    assert likeness(after, in_use.run_usual(*given)) > 90
    assert likeness(after, before) < 45


def test_after_a_restart_nothing_is_compiled(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", without_compiler)
    with running(made, makes=True) as each:
        each.settle()
        assert each.run(*inputs())[1] == {NAME}
        assert each.background.shown()["in_use"] == 1


def test_nothing_but_code_is_left_on_disk(made: Path) -> None:
    (place,) = [path for path in made.iterdir() if path.is_dir()]
    assert {path.name for path in place.iterdir()} == {CODE, FACTS}


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_broken_file_costs_one_line_in_the_log(copied: Path, damage: str) -> None:
    (path,) = copied.glob(f"*/{CODE}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else whole[:-1] + b"!")
    with capture_logs() as lines, running(copied) as each:
        each.settle()
        output, names = each.run(*(given := inputs()))
    assert names == {USUAL}
    torch.testing.assert_close(output, each.run_usual(*given), rtol=0, atol=0)
    assert [line["event"] for line in lines] == ["compiled code failed"]
    assert not path.exists()


def test_without_a_compiler_code_from_disk_is_used_and_none_is_made(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not has_compiler()
    with running(made, makes=has_compiler()) as each:
        each.settle()
        assert each.run(*inputs())[1] == {NAME}
        assert each.background.state == "no compiler"


def test_other_threads_of_the_worker_run_beside_code(in_use: Running) -> None:
    ticks, ends = [0], threading.Event()

    def tick() -> None:
        while not ends.wait(0.001):
            ticks[0] += 1

    thread = threading.Thread(target=tick)
    thread.start()
    given = inputs(8, 256, 256)
    block = in_use.network.blocks[0]
    before = ticks[0]
    with torch.inference_mode():
        block(*given)
    during = ticks[0] - before
    ends.set()
    thread.join()
    assert during > 3


def test_codes_values_are_freed(in_use: Running) -> None:
    given = inputs(4, 256, 256)  # 16 MiB, for each of two blocks
    for _ in range(2):
        in_use.run(*given)
    before = resident_bytes()
    for _ in range(12):
        assert in_use.run(*given)[1] == {NAME}
    assert resident_bytes() - before < 128 * 2**20


def resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
