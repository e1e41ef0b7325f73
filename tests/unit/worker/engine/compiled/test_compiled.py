"""Compiled blocks without a compiler: which way a block runs, what is kept, when code is made."""

import os
import pickle
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from shared.settings import Settings
from tests.support.compiled_blocks import SECONDS, Network, Running, Standing, inputs, running
from tests.support.engine_jobs import LIMITS, Loras, fresh_base, make_job, psnr, run_all
from tests.support.wait import wait_until
from worker.engine.compiled import toolchain
from worker.engine.compiled.background import LEAST_FREE_DEVICE_BYTES, Background
from worker.engine.compiled.regions import (
    Input,
    Kind,
    description,
    inputs_of,
    kind_of,
    skeleton,
)
from worker.engine.compiled.shelf import MOST, Shelf
from worker.engine.compiled.tracing import timed_sizes
from worker.engine.compiled.use import NAME, USUAL, CompiledBlocks
from worker.engine.engine_choice import find_blocks
from worker.engine.interface import Urgency
from worker.engine.step.step_engine import StepEngine

CPU = torch.device("cpu")


def without_compiler(*_arguments: Any, **_named: Any) -> Any:
    raise AssertionError("nothing is to be compiled")


@pytest.fixture
def standing() -> Running:
    """The network with code for every kind."""
    return Running(Standing())


def test_a_block_with_open_lora_slots_runs_as_usual(standing: Running) -> None:
    # Given a layer that computes more than its own weights tell
    layer, opened = standing.network.blocks[0].conv1, [True]
    usual = layer.forward
    layer.forward = lambda x: usual(x) + 1
    standing.blocks.mind_slots(lambda: opened[0])
    _, names = standing.run(*inputs())
    assert names == {NAME, USUAL}
    # When no LoRA in slots acts
    opened[0] = False
    assert standing.run(*inputs())[1] == {NAME}


def test_what_code_is_not_made_for_runs_as_usual(standing: Running) -> None:
    picture, temb = inputs()
    for given in ((picture.contiguous(), temb), (picture[:, :, :1, :1], temb)):
        output, names = standing.run(*given)
        assert names == {USUAL}
        torch.testing.assert_close(output, standing.run_usual(*given), rtol=0, atol=0)


def test_a_file_that_is_no_code_of_this_torch_is_not_loaded(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        first.run(*inputs())
        (kind,) = first.background._wanted
    Shelf(tmp_path).put(kind, b"no library", 2.0)
    with capture_logs() as lines, running(tmp_path) as each:
        each.settle()
        assert each.run(*inputs())[1] == {USUAL}
    assert [line["event"] for line in lines] == ["compiled code failed"]


def test_code_that_fails_is_given_up_and_the_block_runs_as_usual(tmp_path: Path) -> None:
    def failing(_inputs: list[torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("no memory")

    code: Any = failing
    with capture_logs() as lines, running(tmp_path) as each:
        each.run(*inputs())
        (wanted,) = each.background._wanted.values()
        wait_until(lambda: wanted.is_looked_up, description="a look on the disk", seconds=SECONDS)
        wanted.code = code
        for _ in range(2):
            output, names = each.run(*(given := inputs()))
            assert names == {USUAL}
            torch.testing.assert_close(output, each.run_usual(*given), rtol=0, atol=0)
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("compiled code failed", "no memory")
    ]


def test_for_want_of_memory_code_is_kept_and_the_error_is_the_blocks(tmp_path: Path) -> None:
    def failing(_inputs: list[torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("compiled code failed")

    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no memory")

    code: Any = failing
    with running(tmp_path) as each:
        for block in each.network.blocks:
            block.conv1.forward = full
        with pytest.raises(torch.OutOfMemoryError):
            each.run(*inputs())
        (wanted,) = each.background._wanted.values()
        wanted.code = code
        with pytest.raises(torch.OutOfMemoryError):
            each.run(*inputs())
        assert wanted.code is code


def test_no_call_waits_for_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, ends = threading.Event(), threading.Event()

    def run(_self: Background, wishes: list[Any], _by_kind: Any) -> None:
        assert len(wishes) == 1  # both blocks are of one kind
        began.set()
        ends.wait(60)

    monkeypatch.setattr(Background, "_run", run)
    with running(tmp_path, makes=True) as each:
        each.run(*inputs())
        assert began.wait(60)
        assert each.background.shown()["state"] == "compiling"
        assert each.run(*inputs())[1] == {USUAL}
        ends.set()


def test_a_folder_that_cannot_be_written_costs_one_line_in_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("no folder")
    with capture_logs() as lines, running(folder, makes=True) as each:
        each.run(*inputs())
        wait_until(
            lambda: each.background.state == "failed", description="the failure", seconds=SECONDS
        )
        assert each.run(*inputs())[1] == {USUAL}
    assert [line["event"] for line in lines] == ["blocks of the base not compiled"]


def test_what_did_not_pay_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", without_compiler)
    with running(tmp_path) as each:
        each.run(*inputs())
        (kind,) = each.background._wanted
    Shelf(tmp_path).put(kind, None, 1.0)
    with capture_logs() as lines, running(tmp_path, makes=True) as each:
        each.settle()
        assert each.run(*inputs())[1] == {USUAL}
    assert lines == []


@pytest.mark.slow
def test_a_compiler_that_fails_costs_a_line_per_kind_and_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "false")
    with capture_logs() as lines, running(tmp_path, makes=True) as each:
        each.settle()
        wait_until(lambda: each.background.state == "ready", description="the end", seconds=SECONDS)
        assert each.run(*inputs())[1] == {USUAL}
    assert "block not compiled" in [line["event"] for line in lines]
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_closing_ends_the_compiler_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.Popen

    def sleeping(_command: Any, **options: Any) -> Any:
        return started(["sleep", "600"], **options)

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    with running(tmp_path, makes=True) as each:
        each.run(*inputs())
        wait_until(
            lambda: each.background._process is not None,
            description="the compiling process",
            seconds=SECONDS,
        )
        process = each.background._process
        begins = time.monotonic()
    assert time.monotonic() - begins < 30
    assert process is not None
    assert process.returncode != 0


def test_the_oldest_code_makes_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    kinds = [Kind(str(number), (), "", "cpu", 1, "", ()) for number in range(MOST + 3)]
    for kind in kinds:
        shelf.put(kind, b"", 1.0)
    assert len(list(tmp_path.iterdir())) == MOST
    assert shelf.is_known(kinds[-1])


def test_one_process_at_a_time_makes_code_and_cleans_up_after_others(tmp_path: Path) -> None:
    left = tmp_path / ".files-of-a-process-that-was-killed"
    left.mkdir()
    with Shelf(tmp_path).making() as mine, Shelf(tmp_path).making() as theirs:
        assert (mine, theirs) == (True, False)
        assert not left.exists()


def test_the_compiler_gets_no_weights() -> None:
    block = Network().blocks[0]
    block.register_forward_pre_hook(lambda *_: None)
    bare = skeleton(block)
    assert description(bare) == description(block)
    assert {weight.device.type for weight in bare.parameters()} == {"meta"}
    assert len(pickle.dumps(bare)) < 16_000


def test_a_kind_is_its_structure_types_layouts_device_and_threads() -> None:
    block, picture = Network().blocks[0], inputs()
    known = inputs_of(picture)
    kind = kind_of(description(block), known, None, CPU)
    assert kind.digest == kind_of(description(deepcopy(block)), known, None, CPU).digest
    plain = inputs_of((picture[0].contiguous(), picture[1]))
    elsewhere = deepcopy(block).to(memory_format=torch.contiguous_format)
    block.output_scale_factor = 2.0
    others = [
        kind_of(description(block), known, None, CPU),
        kind_of(description(elsewhere), known, None, CPU),
        kind_of(kind.module, known, torch.bfloat16, CPU),
        kind_of(kind.module, (known[0], None), None, CPU),
        kind_of(kind.module, plain, None, CPU),
        replace(kind, device="cuda"),
        replace(kind, threads=kind.threads + 1),
        replace(kind, machine="another"),
        replace(kind, versions=("another",)),
    ]
    assert len({kind.digest, *(other.digest for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(("width", "side"), [(128, 128), (1280, 80), (2560, 56)])
def test_code_for_wide_blocks_is_judged_within_the_memory_that_making_has(
    width: int, side: int
) -> None:
    inputs_there = (Input("float16", 4, width, is_last=True), None)
    kind = Kind("", inputs_there, "", "cuda", 0, "", ())
    assert timed_sizes(kind) == (4, side, side)
    assert timed_sizes(replace(kind, device="cpu")) == (1, 96, 96)


def with_blocks(folder: Path) -> tuple[StepEngine, Standing]:
    loaded, standing = fresh_base(folder), Standing()
    networks = {"unet": loaded.pipeline.unet, "vae": loaded.pipeline.vae}
    blocks = CompiledBlocks(networks, standing)  # type: ignore[arg-type]
    return StepEngine(loaded, LIMITS, None, blocks), standing


def test_jobs_run_by_code_and_say_so(folder: Path, loras: Loras, engine: StepEngine) -> None:
    compiled, standing = with_blocks(folder)
    jobs = [make_job(1), make_job(2, guidance_scale=3.0), make_job(3, loras=((loras.conv, 1.0),))]
    try:
        for job in jobs:
            result, expected = run_all(compiled, [job])[0], run_all(engine, [job])[0]
            assert (expected.ran_by["unet"], result.ran_by["unet"]) == (USUAL, NAME)
            assert (result.ran_by["vae_encoder"], result.ran_by["vae_decoder"]) == (NAME, NAME)
            assert psnr(result.pixels, expected.pixels) >= 60
        assert standing.calls > 0
        assert compiled.residency()["compiled"]["state"] == "ready"
        assert engine.residency()["compiled"] == {"state": "off"}
    finally:
        compiled.close()


def test_different_loras_in_one_step_run_as_usual_and_right(
    folder: Path, loras: Loras, engine: StepEngine
) -> None:
    compiled, _ = with_blocks(folder)
    jobs = [make_job(1, loras=((loras.conv, 1.0),)), make_job(2, loras=((loras.wide, 1.0),))]
    try:
        together, expected = run_all(compiled, jobs), run_all(engine, jobs)
        for one, other in zip(together, expected, strict=True):
            assert psnr(one.pixels, other.pixels) >= 60
    finally:
        compiled.close()


def test_previews_go_first_between_compiled_blocks(folder: Path) -> None:
    compiled, _ = with_blocks(folder)
    previews, seen = list[Future[Any]](), list[str]()
    block = next(m for m in compiled._pipeline.unet.modules() if "forward" in vars(m))

    def submit_one(*_: Any) -> None:
        if not previews:
            small = make_job(2, urgency=Urgency.PREVIEW)
            previews.append(compiled.submit(small, lambda _: None))
            previews[0].add_done_callback(lambda _: seen.append("preview"))

    block.register_forward_hook(submit_one)
    try:
        whole = compiled.submit(make_job(1), lambda _: None)
        whole.add_done_callback(lambda _: seen.append("job"))
        whole.result(timeout=60)
        assert seen == ["preview", "job"]
    finally:
        compiled.close()


@pytest.mark.parametrize("wanted", ["off", "auto"])
def test_the_setting_decides(
    folder: Path, make_settings: Callable[..., Settings], wanted: str
) -> None:
    loaded = fresh_base(folder)
    blocks = find_blocks(loaded, make_settings(compile=wanted))
    assert (blocks is None) == (wanted == "off")
    if blocks is not None:
        assert blocks.shown()["blocks"] > 0
        blocks.close()
    elsewhere = replace(loaded, device=torch.device("mps"))
    assert find_blocks(elsewhere, make_settings(compile="auto")) is None


def test_a_gpu_without_what_its_compiler_needs_says_so(
    folder: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda _name: None)
    on_gpu = replace(fresh_base(folder), device=torch.device("cuda"))
    blocks = find_blocks(on_gpu, make_settings(compile="auto"))
    assert blocks is not None
    assert blocks.shown()["state"] == "no compiler"
    blocks.close()


def test_blocks_on_another_device_run_as_usual(standing: Running) -> None:
    # As after the base's weights have moved to main memory, which an offloading profile does
    standing.blocks._blocks[0]._device_type = "cuda"
    assert standing.run(*inputs())[1] == {NAME, USUAL}


def test_on_a_full_gpu_code_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [LEAST_FREE_DEVICE_BYTES - 1]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free[0], 2**33))
    background = Background(tmp_path, device=torch.device("cuda"))
    assert not background._has_memory()
    free[0] += 1
    assert background._has_memory()
    background.close()


# --- what the compiler needs


AS_PACKAGED = {
    "cu13": {
        "cu13/include": ["cuda.h", "cuda_runtime.h", "cuda_fp8.h", "crt/host_defines.h"],
        "cu13/include/cccl": ["nv/target"],
    },
    "cuda_runtime": {
        "cuda_runtime/include": ["cuda.h", "cuda_runtime.h", "cuda_fp8.h"],
        "cuda_nvcc/include": ["crt/host_defines.h"],
        "cuda_cccl/include": ["nv/target"],
    },
}


@pytest.fixture(params=AS_PACKAGED)
def cuda(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Headers as NVIDIA's packages have them."""
    nvidia = tmp_path / "nvidia"
    for folder, names in AS_PACKAGED[request.param].items():
        for name in names:
            (nvidia / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (nvidia / folder / name).touch()
    (nvidia / "__init__.py").touch()
    (tmp_path / "triton.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("CUDA_HOME", "CUDA_PATH", "CXX", "LIBRARY_PATH", "CPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/g++")
    monkeypatch.setattr(toolchain, "_INSTALLED", str(tmp_path / "no-toolkit"))
    home: Path = nvidia / request.param
    return home


def test_the_cuda_headers_are_those_named_or_those_of_torch(
    cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = torch.device("cuda")
    assert toolchain.cuda_home() == cuda
    assert toolchain.has_compiler(gpu)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert toolchain.cuda_home() is None
    assert not toolchain.has_compiler(gpu)
    assert toolchain.has_compiler(CPU)
    assert not toolchain.has_compiler(torch.device("mps"))


def test_without_the_headers_that_torchs_packages_lack_nothing_is_compiled(cuda: Path) -> None:
    (header,) = cuda.parent.glob("**/nv/target")
    header.unlink()
    assert toolchain.cuda_home() is None
    assert not toolchain.has_compiler(torch.device("cuda"))


def test_the_compiling_process_finds_headers_and_the_drivers_library(
    cuda: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        found = toolchain.environment(torch.device("cuda"), tmp_path / "files")
    assert found["CUDA_HOME"] == str(cuda)
    folders = [Path(each) for each in found["CPATH"].split(os.pathsep)]
    for name in toolchain._HEADERS:
        assert any((folder / name).is_file() for folder in folders)
    assert (Path(found["LIBRARY_PATH"]) / "libcuda.so").is_symlink()
    assert found["TRITON_CACHE_DIR"].startswith(str(tmp_path / "files"))
    assert toolchain.environment(CPU, tmp_path / "files") == {}
