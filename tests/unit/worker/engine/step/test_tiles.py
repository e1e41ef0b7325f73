"""Pictures that are made of tiles: as if they were made whole, and no seam to be seen."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from shared.errors import JobCanceled, OutOfMemory
from shared.jobs import Stage
from tests.support.checkpoints import make_sd15, make_sdxl
from tests.support.engine_jobs import (
    Loras,
    batch_sizes,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.base.tile_size import SIDE_MULTIPLE as CELL
from worker.engine.base.tile_size import TileSize
from worker.engine.interface import (
    EngineEvent,
    EngineJob,
    PartDone,
    Pixels,
    StageStarted,
    StepDone,
    Urgency,
)
from worker.engine.step.blending import PictureBlend
from worker.engine.step.step_engine import StepEngine
from worker.engine.step.tiles import plan_tiles

TINY = Path(__file__).parents[5] / "models" / "tiny"
SMALL = TileSize(side=48, overlap=16, least=32)
# Of a row or column that stands out, against the mean of so many neighbours on either side.
STANDS_OUT, NEIGHBOURS = 1.5, 8
# Grey levels that nobody sees: rounding to 8 bits makes as much of nothing.
NOTHING = 0.05


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Soft shapes and some noise, as a photo has."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shapes = [np.sin(y / 17 + c) * np.cos(x / 23 - c) * 70 + 128 for c in range(3)]
    noise = random.normal(0, 8, (height, width, 3))
    return np.clip(np.stack(shapes, -1) + noise, 0, 255).astype(np.uint8)


def seam_ratio(one: Pixels, other: Pixels) -> float:
    """How far the worst row or column of the difference stands out among its neighbours."""
    difference = np.abs(one.astype(float) - other.astype(float)).mean(2)
    return max(_stands_out(difference.mean(axis)) for axis in (0, 1))


def _stands_out(line: npt.NDArray[np.float64]) -> float:
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(line, NEIGHBOURS, mode="reflect"), 2 * NEIGHBOURS + 1
    )
    means = (around.sum(1) - line) / (2 * NEIGHBOURS)
    return float(((line + NOTHING) / (means + NOTHING)).max())


@pytest.mark.parametrize("size", [TileSize(512, 32, 128), TileSize(768, 96, 256), SMALL])
@pytest.mark.parametrize(
    "sides", [(3000, 4000), (9000, 600), (1024, 1024), (577, 600), (100, 2000), (49, 1021)]
)
def test_windows_cover_a_picture_and_their_weights_add_up_to_one(
    sides: tuple[int, int], size: TileSize
) -> None:
    if size.fits(*sides):
        return
    grid = plan_tiles(*sides, size)
    whole = np.zeros((grid.height // 8, grid.width // 8))
    for window in grid.windows:
        whole[window.at(8)] += grid.weight(window, 8)
    np.testing.assert_allclose(whole, 1, atol=1e-5)
    assert 0 <= grid.height - sides[0] < CELL
    assert 0 <= grid.width - sides[1] < CELL


def test_tiles_of_the_embedded_base_cost_little_more_than_the_picture() -> None:
    for sides in ((3000, 4000), (4000, 6000), (7000, 7000)):
        grid = plan_tiles(*sides, TileSize(512, 32, 128))
        pixels = len(grid.windows) * grid.rows.side * grid.columns.side * CELL**2
        assert pixels <= 1.15 * sides[0] * sides[1]


@pytest.mark.parametrize("sides", [(90, 250), (250, 90), (131, 131)])
def test_tiles_that_come_in_any_order_make_the_picture(sides: tuple[int, int]) -> None:
    pixels = picture(*sides)
    grid = plan_tiles(*sides, SMALL)
    order = np.random.default_rng(1).permutation(len(grid.windows))
    blend = PictureBlend(grid, *sides)
    for place in order:
        assert not blend.is_complete
        window = grid.windows[place]
        blend.add(window, pixels[window.at(1)].astype(np.float32))
    assert blend.is_complete
    np.testing.assert_array_equal(blend.picture, pixels)


def with_tiles(engine: StepEngine, size: TileSize) -> StepEngine:
    engine._limits = replace(engine._limits, tile_size=size)
    return engine


def test_the_embedded_base_makes_the_same_of_tiles_as_of_the_whole() -> None:
    # Given a picture that the engine would make whole, and one step
    job = make_job(pixels=picture(304, 280), strength=0.1, steps=10)
    engine = start_engine(TINY)
    whole = run_all(engine, [job])[0]
    # When it is made of tiles
    tiled = run_all(with_tiles(engine, TileSize(160, 32, 64)), [job])[0]
    engine.close()
    # Then nobody can tell
    assert tiled.pixels.shape == job.pixels.shape
    assert psnr(tiled.pixels, whole.pixels) >= 45
    assert seam_ratio(tiled.pixels, whole.pixels) <= STANDS_OUT


@pytest.mark.parametrize("make", [make_sd15, make_sdxl], ids=["sd15", "sdxl"])
@pytest.mark.parametrize("sides", [(176, 176), (272, 432)], ids=["2x2", "3x5"])
def test_no_seam_shows_after_four_steps_of_a_larger_base(
    make: Callable[[Path], Path], sides: tuple[int, int], tmp_path: Path
) -> None:
    engine = start_engine(make(tmp_path / "base"))
    job = make_job(pixels=picture(*sides), strength=0.4, steps=10)
    whole = run_all(engine, [job])[0]
    grid = plan_tiles(*sides, TileSize(100, 32, 64))
    tiled = run_all(with_tiles(engine, TileSize(100, 32, 64)), [job])[0]
    engine.close()
    assert len(grid.windows) == (4 if sides[0] == sides[1] else 15)
    assert seam_ratio(tiled.pixels, whole.pixels) <= STANDS_OUT
    # The steps themselves show no edge where windows meet, either.
    assert seam_ratio(tiled.pixels, job.pixels) <= STANDS_OUT


@pytest.fixture
def tiling(engine: StepEngine) -> StepEngine:
    """An engine whose tiles are as small as they may be."""
    return with_tiles(engine, SMALL)


def large(seed: int = 3, **changes: object) -> EngineJob:
    return make_job(seed, **{"pixels": picture(100, 120, seed), **changes})


def test_tiles_of_several_jobs_and_loras_share_steps_and_are_what_each_is_alone(
    tiling: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        large(1, loras=((loras.narrow, 1.0),)),
        large(2, loras=((loras.wide, 0.7),), guidance_scale=3.0),
        large(3, strength=0.1, fidelity="residual"),
        large(4, fidelity="low", loras=((loras.text, 1.0),)),
        make_job(5),
    ]
    alone = [run_all(tiling, [job])[0].pixels for job in jobs]
    sizes = batch_sizes(tiling, monkeypatch)
    together = run_all(tiling, jobs)
    assert max(sizes) >= 4
    for result, expected in zip(together, alone, strict=True):
        assert result.pixels.shape == expected.shape
        assert psnr(result.pixels, expected) >= 45
    assert tiling._rows == []
    assert all(not slot.pins for slot in tiling.adapters._slots.values())


def test_a_deterministic_picture_of_tiles_has_equal_bits_alone_and_in_company(
    tiling: StepEngine,
) -> None:
    asked = large(1, deterministic=True)
    alone = run_all(tiling, [asked])[0].pixels
    together = run_all(tiling, [large(2), asked, large(3)])
    np.testing.assert_array_equal(together[1].pixels, alone)


@pytest.mark.parametrize("strength", [0.1, 0.4])
def test_every_tile_is_told_and_no_stage_or_step_twice(tiling: StepEngine, strength: float) -> None:
    told: list[EngineEvent] = []
    tiling.submit(large(strength=strength), told.append).result(timeout=60)
    tiles = len(plan_tiles(100, 120, SMALL).windows)
    steps = round(strength * 10)
    stages = [event.stage for event in told if isinstance(event, StageStarted)]
    assert stages == [Stage.LOADING, Stage.ENCODING, Stage.DENOISING, Stage.DECODING]
    for stage, times in ((Stage.ENCODING, 1), (Stage.DENOISING, steps), (Stage.DECODING, 1)):
        parts = [e for e in told if isinstance(e, PartDone) and e.stage is stage]
        assert [(part.done, part.total) for part in parts] == [
            (number, tiles * times) for number in range(1, tiles * times + 1)
        ]
    steps_told = [event for event in told if isinstance(event, StepDone)]
    assert steps_told == [StepDone(number, steps) for number in range(1, steps + 1)]


def test_a_job_that_is_canceled_between_two_tiles_leaves_at_once_and_alone(
    tiling: StepEngine,
) -> None:
    doomed, other = large(1), large(2)
    expected = run_all(tiling, [other])[0].pixels
    parts = 0

    def on_event(event: EngineEvent) -> None:
        nonlocal parts
        parts += isinstance(event, PartDone)
        if parts == 3:
            doomed.stop.cancel()

    futures = [tiling.submit(doomed, on_event), tiling.submit(other, lambda _: None)]
    with pytest.raises(JobCanceled):
        futures[0].result(timeout=60)
    assert parts <= 3 + tiling.small_rows
    assert psnr(futures[1].result(timeout=60).pixels, expected) >= 45
    assert tiling._rows == []


@pytest.mark.parametrize("urgency", [Urgency.PREVIEW, Urgency.INTERACTIVE])
def test_a_small_job_overtakes_a_picture_of_many_tiles(folder: Path, urgency: Urgency) -> None:
    # Given an engine that does one tile at a time, in the middle of a picture
    engine = with_tiles(start_engine(folder, rows_per_step=1), SMALL)
    tile_sized = make_job(9, pixels=picture(48, 48), urgency=urgency)
    order: list[str] = []

    def on_event(event: EngineEvent) -> None:
        if isinstance(event, PartDone):
            order.append("tile")
            if len(order) == 2:
                small = engine.submit(tile_sized, lambda _: None)
                small.add_done_callback(lambda _: order.append("small"))

    engine.submit(large(strength=0.1), on_event).result(timeout=60)
    engine.close()
    # Then it is done after the units of one tile at the most
    assert order.index("small") <= 2 + 3
    assert order.count("tile") > 10


def test_two_pictures_take_turns_tile_by_tile(folder: Path) -> None:
    engine = with_tiles(start_engine(folder, rows_per_step=1), SMALL)
    order: list[int] = []

    def listen(seed: int) -> Callable[[EngineEvent], None]:
        return lambda event: order.append(seed) if isinstance(event, PartDone) else None

    for future in [engine.submit(large(seed, strength=0.1), listen(seed)) for seed in (1, 2)]:
        future.result(timeout=60)
    engine.close()
    turns = [begin for begin, after in pairwise([0, *order]) if begin != after]
    assert len(turns) > 5


def test_large_pictures_are_made_one_after_the_other_so_that_memory_holds_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.step.tiled_rows.LARGE_PIXELS", 100 * 100)
    engine = with_tiles(start_engine(folder, rows_per_step=1), SMALL)
    order: list[int] = []

    def listen(seed: int) -> Callable[[EngineEvent], None]:
        return lambda event: order.append(seed) if isinstance(event, PartDone) else None

    for future in [engine.submit(large(seed, strength=0.1), listen(seed)) for seed in (1, 2)]:
        future.result(timeout=60)
    engine.close()
    assert order == sorted(order)


def no_memory_above(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, unit: str, area: int
) -> None:
    original = getattr(engine._units, unit)

    def work(rows: list[object]) -> object:
        if max(row.pixels.shape[0] * row.pixels.shape[1] for row in rows) > area:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError("injected")
        return original(rows)

    monkeypatch.setattr(engine._units, unit, work)


@pytest.mark.parametrize("unit", ["encode", "step", "decode"])
@pytest.mark.parametrize("side", [160, 64], ids=["whole", "tiled"])
def test_out_of_memory_goes_to_smaller_tiles_before_the_picture_loses_anything(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, unit: str, side: int
) -> None:
    engine = with_tiles(engine, TileSize(side, 16, 32))
    job = large()
    expected = run_all(engine, [job])[0]
    no_memory_above(engine, monkeypatch, unit, 50 * 50)
    result = run_all(engine, [job])[0]
    assert result.pixels.shape == job.pixels.shape
    assert "smaller_tiles" in result.degraded
    assert "smaller_side" not in result.degraded
    monkeypatch.undo()
    after = run_all(engine, [job])[0]
    assert after.degraded == ()
    np.testing.assert_array_equal(after.pixels, expected.pixels)


def test_a_picture_that_had_to_shrink_gets_its_size_back_and_says_so(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = with_tiles(engine, TileSize(320, 16, 240))
    job = make_job(pixels=picture(256, 192))
    no_memory_above(engine, monkeypatch, "step", 200 * 160)
    result = run_all(engine, [job])[0]
    assert "smaller_side" in result.degraded
    assert result.pixels.shape == job.pixels.shape
    no_memory_above(engine, monkeypatch, "step", 0)
    with pytest.raises(OutOfMemory):
        run_all(engine, [job])
    assert engine._rows == []


def test_a_tile_that_breaks_takes_its_own_picture_along_and_no_other(
    tiling: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tiling._units.step

    def step(rows: list[object]) -> None:
        if any(row.job.seed == 13 for row in rows):  # type: ignore[attr-defined]
            raise RuntimeError("this picture is cursed")
        original(rows)  # type: ignore[arg-type]

    monkeypatch.setattr(tiling._units, "step", step)
    futures = [tiling.submit(large(seed), lambda _: None) for seed in (1, 13, 2)]
    with pytest.raises(RuntimeError, match="cursed"):
        futures[1].result(timeout=60)
    for future in (futures[0], futures[2]):
        future.result(timeout=60)
    assert tiling._rows == []
