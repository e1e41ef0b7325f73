"""Rows of different samplers in one batch: each as if it were alone, and as diffusers makes it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from shared.jobs import Stage
from shared.params import Sampler
from tests.support.checkpoints import make_sd21
from tests.support.engine_jobs import (
    CPU,
    Loras,
    batch_sizes,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.base.base_loading import load_base
from worker.engine.base.tile_size import TileSize
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import EngineEvent, PartDone, StepDone
from worker.engine.step.draws import StepNoise
from worker.engine.step.step_engine import StepEngine

SAMPLERS: tuple[Sampler, ...] = tuple(each for each in get_args(Sampler) if each != "once")
SMALL = TileSize(side=48, overlap=16, least=32)


@pytest.fixture(scope="module")
def by_diffusers(folder: Path) -> Iterator[DiffusersEngine]:
    running = DiffusersEngine(load_base(str(folder), CPU), lora_slots=2)
    yield running
    running.close()


def in_tiles(engine: StepEngine) -> StepEngine:
    engine._limits = replace(engine._limits, tile_size=SMALL)
    return engine


def test_mixed_samplers_in_one_batch_are_what_each_is_alone(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given rows of every sampler, two of each stochastic one, some with a LoRA or guidance
    jobs = [
        make_job(1),
        make_job(2, sampler="euler", strength=0.9, steps=5),
        make_job(3, sampler="lcm", steps=4, strength=1.0),
        make_job(4, sampler="lcm", loras=((loras.narrow, 1.0),), guidance_scale=2.0),
        make_job(5, sampler="tcd", steps=8, strength=0.6),
        make_job(6, sampler="tcd", loras=((loras.wide, 0.7),)),
        make_job(7, sampler="euler", trailing=True, strength=0.8, steps=4),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    # When they run together
    sizes = batch_sizes(engine, monkeypatch)
    together = run_all(engine, jobs)
    # Then they really shared steps, and nobody can tell
    assert max(sizes) >= 4
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_makes_what_diffusers_makes_with_it(
    engine: StepEngine, by_diffusers: DiffusersEngine, sampler: Sampler
) -> None:
    job = make_job(sampler=sampler, strength=0.6, steps=5)
    expected = run_all(by_diffusers, [job])[0]
    made = run_all(engine, [job])[0]
    assert psnr(made.pixels, expected.pixels) >= 50
    assert made.degraded == expected.degraded == ()
    # The next job has its own sampler again.
    usual = make_job()
    again, before = run_all(by_diffusers, [usual])[0], run_all(engine, [usual])[0]
    assert psnr(again.pixels, before.pixels) >= 50


@pytest.mark.parametrize("sampler", ["euler", "lcm", "tcd"])
def test_samplers_work_on_a_base_that_predicts_velocity(tmp_path: Path, sampler: Sampler) -> None:
    folder = make_sd21(tmp_path / "sd21")
    job = make_job(sampler=sampler, strength=0.6, steps=5)
    diffusers, engine = DiffusersEngine(load_base(str(folder), CPU), 0), start_engine(folder)
    expected = run_all(diffusers, [job])[0]
    made = run_all(engine, [job])[0]
    diffusers.close()
    engine.close()
    assert psnr(made.pixels, expected.pixels) >= 50


def test_samplers_differ_and_a_seed_repeats_each(engine: StepEngine) -> None:
    jobs = [make_job(sampler=sampler, strength=0.8, steps=5) for sampler in SAMPLERS]
    made = [run_all(engine, [job])[0].pixels for job in jobs]
    again = [run_all(engine, [job])[0].pixels for job in jobs]
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for place, one in enumerate(made):
        assert all(psnr(one, other) < 45 for other in made[place + 1 :])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_progress_of_every_sampler_counts_its_executed_steps(
    engine: StepEngine, sampler: Sampler
) -> None:
    events: list[EngineEvent] = []
    job = make_job(sampler=sampler, steps=8, strength=0.6)
    engine.submit(job, events.append).result(timeout=60)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps == [StepDone(step, 4) for step in range(1, 5)]


@pytest.mark.parametrize("sampler", ["euler", "lcm", "tcd"])
def test_a_picture_of_tiles_goes_with_others_and_is_what_it_is_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, sampler: Sampler
) -> None:
    pixels = np.random.default_rng(8).integers(0, 256, (48, 112, 3), dtype=np.uint8)
    job = make_job(8, pixels=pixels, sampler=sampler, strength=0.8, steps=5)
    others = [make_job(9, pixels=pixels[:, :48], sampler="lcm", steps=5, strength=0.8)]
    tiled = in_tiles(engine)
    alone = [run_all(tiled, [each])[0].pixels for each in (job, *others)]
    sizes, events = batch_sizes(tiled, monkeypatch), list[EngineEvent]()
    futures = [tiled.submit(job, events.append)]
    futures += [tiled.submit(each, lambda _: None) for each in others]
    together = [future.result(timeout=60).pixels for future in futures]
    assert max(sizes) >= 2
    for made, expected in zip(together, alone, strict=True):
        assert psnr(made, expected) >= 45
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4]
    last = [event for event in events if isinstance(event, PartDone)][-1]
    assert (last.stage, last.done) == (Stage.DECODING, last.total)


def test_tiles_get_their_part_of_one_noise_and_blend_to_the_whole() -> None:
    # Given the embedded base, for which a tile says little less than the whole
    tiny = Path(__file__).parents[5] / "models" / "tiny"
    y, x = np.mgrid[0:160, 0:288]
    shapes = [np.sin(y / 17 + c) * np.cos(x / 23 - c) * 70 + 128 for c in range(3)]
    job = make_job(pixels=np.stack(shapes, -1).astype(np.uint8), sampler="lcm", steps=4)
    job = replace(job, strength=0.5)
    engine = start_engine(tiny)
    whole = run_all(engine, [job])[0].pixels
    engine._limits = replace(engine._limits, tile_size=TileSize(160, 64, 64))
    tiled = run_all(engine, [job])[0].pixels
    engine.close()
    # Then other noise in each tile would show
    assert psnr(tiled, whole) >= 35


def test_a_step_that_is_done_again_gets_the_same_noise(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(sampler="lcm", steps=4, strength=1.0)
    expected = run_all(engine, [job])[0].pixels
    failures: list[Exception | None] = [torch.OutOfMemoryError("full"), None, None]
    noisy = engine._units._add_noise

    def starved(row: object, stepped: torch.Tensor) -> None:
        noisy(row, stepped)  # type: ignore[arg-type]
        failure = failures.pop(0) if failures else None
        if failure is not None:
            raise failure

    monkeypatch.setattr(engine._units, "_add_noise", starved)
    again = run_all(engine, [job])[0]
    assert not failures
    assert psnr(again.pixels, expected) >= 45


def test_noise_of_steps_goes_on_where_the_first_noise_ended() -> None:
    generator = torch.Generator().manual_seed(5)
    expected = [torch.randn(1, 2, generator=generator) for _ in range(3)]
    generator.manual_seed(5)
    noise = StepNoise(generator, torch.Size((1, 2)), torch.float32)
    made = [noise.at(0), noise.at(0), noise.at(1), noise.at(1), noise.at(2)]
    for one, place in zip(made, (0, 0, 1, 1, 2), strict=True):
        torch.testing.assert_close(one, expected[place])
