"""Blocks compiled for a CUDA device: made, loaded, captured in graphs, equal."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from shared.loras.entry import LoraEntry
from tests.support.engine_jobs import make_job, make_lora, psnr, run_all
from tests.support.wait import wait_until
from tests.unit.worker.engine.test_families import FAMILIES
from worker.engine.base.base_loading import load_base
from worker.engine.base.memory_plan import GIB
from worker.engine.base.profiles import EngineLimits
from worker.engine.compiled.background import Background
from worker.engine.compiled.toolchain import has_compiler
from worker.engine.compiled.use import NAME, CompiledBlocks
from worker.engine.interface import Engine, EngineJob, Pixels
from worker.engine.step.graphs import CALLS_BEFORE
from worker.engine.step.step_engine import StepEngine

DEVICE = torch.device("cuda")
# For all kinds of a small base's blocks.
SECONDS = 600

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(2 * SECONDS),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not has_compiler(DEVICE), reason="no compiler for CUDA"),
]

LIMITS = EngineLimits("full", 8, GIB, GIB, GIB, graphs=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES["sd15"](tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def lora(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LoraEntry:
    into = tmp_path_factory.mktemp("loras")
    return make_lora(into, folder, "conv", rank=4, alpha=4, targets=["conv1", "to_k"])


@pytest.fixture
def compiled(folder: Path, tmp_path: Path) -> Iterator[tuple[Engine, Background]]:
    loaded = load_base(str(folder), DEVICE)
    background = Background(tmp_path, patience=0, niceness=0, device=DEVICE)
    networks = {"unet": loaded.pipeline.unet, "vae": loaded.pipeline.vae}
    engine = StepEngine(loaded, LIMITS, None, CompiledBlocks(networks, background))
    yield engine, background
    engine.close()


def pictures(engine: Engine, wanted: list[EngineJob]) -> list[Pixels]:
    return [run_all(engine, [job])[0].pixels for job in wanted]


def test_compiled_blocks_make_the_pictures_of_the_usual_ones(
    folder: Path, compiled: tuple[Engine, Background], lora: LoraEntry
) -> None:
    # Given what torch makes
    jobs = [make_job(1), make_job(2, guidance_scale=3.0), make_job(3, loras=((lora, 1.0),))]
    usual = StepEngine(load_base(str(folder), DEVICE), LIMITS)
    expected = pictures(usual, jobs)
    usual.close()
    # When code has been made for the blocks, and graphs have been captured with it
    engine, background = compiled
    pictures(engine, jobs)
    wait_until(
        lambda: background.state not in ("waiting", "compiling"),
        description="the code",
        seconds=SECONDS,
    )
    assert background.shown()["in_use"] > 0
    for _ in range(CALLS_BEFORE):
        pictures(engine, jobs)
    # Then the pictures are the same, and say what made them
    results = [run_all(engine, [job])[0] for job in jobs]
    assert min(map(psnr, [each.pixels for each in results], expected)) >= 45
    assert all(NAME in each.ran_by["unet"] for each in results)
    assert NAME in results[0].ran_by["vae_decoder"]
