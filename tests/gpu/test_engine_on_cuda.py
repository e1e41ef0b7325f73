"""The step engine on a CUDA device: diffusers' latents, graphs, profiles, the ladder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.loras.entry import LoraEntry
from tests.support.engine_jobs import MIB, make_job, make_lora, psnr, run_all
from tests.unit.worker.engine.test_families import FAMILIES, by_diffusers, through_the_engine
from worker.engine.base.base_loading import load_base
from worker.engine.base.memory_plan import GIB
from worker.engine.base.profiles import TILING, EngineLimits
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import Engine, EngineJob, Pixels
from worker.engine.step.step_engine import StepEngine

DEVICE = torch.device("cuda")

# Of the latents' length. A half keeps three digits; four guided steps add up what is cut off.
HALF_PRECISION = 0.01

# After so many runs of a job all its shapes are captured.
RUNS = 4

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(scope="module", params=["tiny", "sd15", "sdxl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loras(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[LoraEntry]:
    into = tmp_path_factory.mktemp("loras")
    conv = ["conv1", "to_k"]
    return [
        make_lora(into, folder, "linear", rank=2, alpha=2),
        make_lora(into, folder, "wider", rank=8, alpha=4),
        make_lora(into, folder, "conv", rank=4, alpha=4, targets=conv),
    ]


def start(folder: Path, graphs: bool, rows: int = 8, profile: str = "full") -> StepEngine:
    loaded = load_base(str(folder), DEVICE, profile=profile)
    return StepEngine(loaded, EngineLimits(profile, rows, GIB, GIB, GIB, graphs=graphs))


@pytest.fixture
def eager(folder: Path) -> Iterator[StepEngine]:
    engine = start(folder, graphs=False)
    yield engine
    engine.close()


@pytest.fixture
def capturing(folder: Path) -> Iterator[StepEngine]:
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


def pictures_of(engine: Engine, wanted: list[EngineJob]) -> list[Pixels]:
    """One after the other, so that nobody's company matters."""
    return [run_all(engine, [job])[0].pixels for job in wanted]


def graphs(engine: StepEngine) -> int:
    assert engine._units.denoiser.graphs is not None
    return len(engine._units.denoiser.graphs)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_latents_are_those_of_diffusers_on_the_same_device(
    folder: Path, eager: StepEngine, guidance_scale: float
) -> None:
    asked = {"strength": 0.8, "steps": 5, "negative_prompt": "blurry"}
    job = make_job(7, guidance_scale=guidance_scale, **asked)
    expected = by_diffusers(load_base(str(folder), DEVICE).pipeline, job).float()
    made = through_the_engine(eager, job).float()
    assert (made - expected).norm() <= HALF_PRECISION * expected.norm()


def test_recorded_steps_make_the_pictures_that_launched_ones_make(
    eager: StepEngine, capturing: StepEngine, loras: list[LoraEntry]
) -> None:
    # Given what eager makes, and an engine that has captured these jobs' shapes
    expected = pictures_of(eager, jobs(loras))
    for _ in range(RUNS):
        pictures_of(capturing, jobs(loras))
        run_all(capturing, jobs(loras))
    assert graphs(capturing)
    # When it makes them alone and together
    alone = pictures_of(capturing, jobs(loras))
    together = [result.pixels for result in run_all(capturing, jobs(loras))]
    # Then nobody can tell
    for pictures in (alone, together):
        assert min(map(psnr, pictures, expected)) >= 45


def test_a_recorded_step_has_the_latents_of_a_launched_one(
    eager: StepEngine, capturing: StepEngine
) -> None:
    job = make_job(1, strength=0.8, steps=5)
    expected = through_the_engine(eager, job).float()
    for _ in range(RUNS):
        through_the_engine(capturing, job)
    assert graphs(capturing)
    made = through_the_engine(capturing, job).float()
    assert (made - expected).norm() <= HALF_PRECISION * expected.norm()


def test_the_same_job_again_is_bit_for_bit_the_same(
    capturing: StepEngine, loras: list[LoraEntry]
) -> None:
    for _ in range(RUNS):
        pictures_of(capturing, jobs(loras))
    for first, again in zip(
        pictures_of(capturing, jobs(loras)), pictures_of(capturing, jobs(loras)), strict=True
    ):
        np.testing.assert_array_equal(first, again)


def offloading(folder: Path, profile: str) -> Engine:
    """The engine that a worker has in this profile."""
    if profile == "sequential_offload":
        return DiffusersEngine(load_base(str(folder), DEVICE, profile=profile), lora_slots=4)
    return start(folder, graphs=False, rows=1, profile=profile)


@pytest.mark.parametrize("profile", ["model_offload", "sequential_offload"])
def test_what_waits_in_main_memory_makes_the_picture_that_the_whole_makes(
    folder: Path, loras: list[LoraEntry], profile: str
) -> None:
    # Given an engine with all on the device, in tiles where the other one has them
    whole = "vae_tiling" if profile in TILING else "full"
    engines = (start(folder, graphs=False, profile=whole), offloading(folder, profile))
    try:
        expected, made = (pictures_of(engine, jobs(loras)) for engine in engines)
    finally:
        for engine in engines:
            engine.close()
    assert engines[1].profile == profile
    assert min(map(psnr, made, expected)) >= 40


def test_too_little_memory_costs_a_job_something_and_the_next_one_nothing(
    capturing: StepEngine,
) -> None:
    # Given a device with room for a small picture and less than a large one takes
    small, large = picture(256), picture(1024)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    expected = run_all(capturing, [small])[0]
    room = torch.cuda.max_memory_reserved()
    run_all(capturing, [large])
    assert torch.cuda.max_memory_reserved() > room + 8 * MIB
    capturing._ladder._recovery.evict_adapters()
    torch.cuda.empty_cache()
    # When the large one comes
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        result = run_all(capturing, [large])[0]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    # Then it is made, says what was given up, and is smaller only where it says so
    assert result.degraded
    assert (result.pixels.shape == large.pixels.shape) == ("smaller_side" not in result.degraded)
    # And the next one is whole
    after = run_all(capturing, [small])[0]
    assert after.degraded == ()
    assert psnr(after.pixels, expected.pixels) >= 45


def picture(side: int) -> EngineJob:
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return make_job(1, pixels=pixels)
