"""The step engine on a CUDA device: recordings, mixed batches, and the ladder, with real memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.loras.entry import LoraEntry
from tests.support.checkpoints import make_sd15, make_sdxl
from tests.support.engine_jobs import make_job, make_lora, psnr, run_all
from worker.engine.interface import EngineJob
from worker.engine.loading import load_base
from worker.engine.profiles import GIB, EngineLimits
from worker.engine.step_engine import StepEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module", params=[make_sd15, make_sdxl], ids=["sd15", "sdxl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = request.param(tmp_path_factory.mktemp("base"))
    return made


@pytest.fixture(scope="module")
def loras(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[LoraEntry]:
    into = tmp_path_factory.mktemp("loras")
    conv = ["conv1", "to_k"]
    return [
        make_lora(into, folder, "linear", rank=2, alpha=2),
        make_lora(into, folder, "wider", rank=8, alpha=4),
        make_lora(into, folder, "conv", rank=4, alpha=4, targets=conv),
    ]


def start(folder: Path, graphs: bool, rows: int = 8) -> StepEngine:
    loaded = load_base(str(folder), torch.device("cuda"))
    return StepEngine(loaded, EngineLimits("full", rows, GIB, GIB, GIB, graphs=graphs))


@pytest.fixture
def recording(folder: Path) -> Iterator[StepEngine]:
    engine = start(folder, graphs=True)
    yield engine
    engine.close()


def jobs(loras: list[LoraEntry]) -> list[EngineJob]:
    return [
        make_job(1),
        make_job(2, guidance_scale=3.0, strength=0.9, steps=6),
        make_job(3, loras=((loras[0], 1.0),)),
        make_job(4, loras=((loras[1], 0.5), (loras[0], -0.5))),
        make_job(5, loras=((loras[2], 1.0),)),
    ]


def test_recorded_steps_make_the_pictures_that_launched_ones_make(
    folder: Path, recording: StepEngine, loras: list[LoraEntry]
) -> None:
    launching = start(folder, graphs=False)
    expected = [run_all(launching, [job])[0].pixels for job in jobs(loras)]
    launching.close()
    for _ in range(2):
        alone = [run_all(recording, [job])[0].pixels for job in jobs(loras)]
        together = [result.pixels for result in run_all(recording, jobs(loras))]
        for pictures in (alone, together):
            assert min(map(psnr, pictures, expected)) >= 45
    assert recording._units.denoiser.graphs


def test_the_same_job_again_is_bit_for_bit_the_same(
    recording: StepEngine, loras: list[LoraEntry]
) -> None:
    for job in jobs(loras):
        first, again = run_all(recording, [job])[0], run_all(recording, [job])[0]
        np.testing.assert_array_equal(first.pixels, again.pixels)


def test_too_little_memory_degrades_a_job_and_leaves_the_next_clean(recording: StepEngine) -> None:
    # Given a device with room for little more than what stands on it
    job = make_job(1, pixels=np.zeros((512, 512, 3), np.uint8))
    run_all(recording, [make_job(1)])
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 24 * 2**20) / total)
    try:
        # When a picture comes that is too large for that
        error = recording.submit(job, lambda _: None).exception(timeout=60)
        degraded = () if error else recording.submit(job, lambda _: None).result(60).degraded
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    # Then it says so, one way or the other, and the next job is whole
    assert error is not None or degraded
    assert run_all(recording, [make_job(1)])[0].degraded == ()
