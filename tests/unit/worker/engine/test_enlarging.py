"""Enlargements on the engine's device: in tiles, beside other work, and right to the last pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import JobCanceled, OutOfMemory, UpscalerCorrupt
from shared.upscalers.architecture import Architecture, Compact, Rrdb
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.entry import UpscalerEntry
from tests.support.engine_jobs import CPU, make_job
from tests.support.wait import wait_until
from tests.unit.upscalers.upscaler_files import (
    COMPACT,
    FOLDED,
    KINDS,
    network,
    tensors_of,
    write_plain,
)
from worker.engine.base.base_loading import load_base
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import (
    EngineEvent,
    EnlargeJob,
    Pixels,
    StageStarted,
    StopFlag,
    TileDone,
    Urgency,
)
from worker.engine.step.step_engine import StepEngine
from worker.engine.upscale import enlarging
from worker.engine.upscale.enlarging import Enlarging
from worker.engine.upscale.loading import load_upscaler
from worker.engine.upscale.tiling import tiles


def photo(height: int = 60, width: int = 90, seed: int = 0) -> Pixels:
    """Smooth colours with some detail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    resized = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def entry_for(folder: Path, architecture: Architecture, name: str = "one") -> UpscalerEntry:
    write_plain(folder / f"{name}.safetensors", tensors_of(architecture))
    catalog = UpscalerCatalog(folder)
    catalog.scan()
    return catalog.resolve(name)


def whole(pixels: Pixels, architecture: Architecture, factor: int) -> Pixels:
    """The network's answer for the whole picture at once."""
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        drawn = network(architecture)(tensor, factor)[0]
    return np.asarray(drawn.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy())


def finished(work: Enlarging) -> Pixels:
    with torch.inference_mode():
        while work.result is None:
            work.step()
    return work.result


def furthest(first: Pixels, second: Pixels) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [16, 20, 64])
def test_tiles_make_the_picture_that_the_network_makes_of_the_whole(
    kind: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "tile_side", lambda _: side)
    architecture = KINDS[kind]
    loaded = load_upscaler(entry_for(tmp_path, architecture), CPU)
    factor = architecture.factors[-1]
    made = finished(Enlarging(photo(), factor, loaded))
    assert furthest(made, whole(photo(), architecture, factor)) <= 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (513, 7), (70, 70), (3, 1000)])
@pytest.mark.parametrize("side", [16, 64, 512])
def test_tiles_cover_every_pixel_once_and_begin_evenly(height: int, width: int, side: int) -> None:
    seen = np.zeros((height, width), int)
    for tile in tiles(height, width, side, 8):
        seen[tile.kept] += 1
        rows, columns = tile.kept
        assert rows.start % 4 == columns.start % 4 == 0
        assert rows.stop - rows.start <= side
        assert columns.stop - columns.start <= side
    assert (seen == 1).all()


def test_factors_that_a_network_lacks_come_of_repeating_and_of_shrinking(tmp_path: Path) -> None:
    twice = load_upscaler(entry_for(tmp_path, Compact(8, 1, 2), "twice"), CPU)
    four = load_upscaler(entry_for(tmp_path, COMPACT, "four"), CPU)
    for loaded, factor in [(twice, 4), (twice, 3), (four, 3), (four, 2)]:
        made = finished(Enlarging(photo(), factor, loaded))
        assert made.shape == (60 * factor, 90 * factor, 3)
    shrunk = Image.fromarray(whole(photo(), COMPACT, 4)).resize(
        (180, 120), Image.Resampling.LANCZOS
    )
    assert furthest(finished(Enlarging(photo(), 2, four)), np.asarray(shrunk)) <= 1


def test_the_share_that_is_done_only_grows_over_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "tile_side", lambda _: 64)
    work = Enlarging(photo(), 4, load_upscaler(entry_for(tmp_path, Compact(8, 1, 2)), CPU))
    shares = []
    with torch.inference_mode():
        while work.result is None:
            work.step()
            shares.append(work.done / work.total)
    assert len(shares) > 4
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_picture_goes_on_in_smaller_tiles_where_one_does_not_fit(tmp_path: Path) -> None:
    picture = photo(200, 300)
    work = Enlarging(picture, 2, load_upscaler(entry_for(tmp_path, FOLDED), CPU))
    while work.shrink():
        pass
    assert len(tiles(200, 300, 64, 0)) <= work.total
    assert furthest(finished(work), whole(picture, FOLDED, 2)) <= 1


def test_a_network_that_makes_no_numbers_fails_by_name(tmp_path: Path) -> None:
    tensors = tensors_of(FOLDED)
    tensors["refine.weight"].fill_(3e38)
    tensors["direct.weight"].fill_(3e38)
    write_plain(tmp_path / "wild.safetensors", tensors)
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    loaded = load_upscaler(catalog.resolve("wild"), CPU)
    with pytest.raises(UpscalerCorrupt, match="wild"):
        finished(Enlarging(photo(), 2, loaded))


@pytest.mark.parametrize("factor", [2, 3])
def test_grey_stays_grey(factor: int, tmp_path: Path) -> None:
    grey = np.repeat(photo()[..., :1], 3, axis=2)
    loaded = load_upscaler(entry_for(tmp_path, FOLDED), CPU)
    assert np.ptp(whole(grey, FOLDED, 2).astype(int), axis=2).max() > 0
    made = finished(Enlarging(grey, factor, loaded)).astype(int)
    assert np.ptp(made, axis=2).max() == 0


class Heard(list[EngineEvent]):
    """What an engine has told."""

    def tiles(self) -> list[tuple[int, int]]:
        return [(event.tile, event.total) for event in self if isinstance(event, TileDone)]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enlarging, "tile_side", lambda _: 16)


@pytest.mark.usefixtures("small_tiles")
def test_both_engines_make_the_same_picture_and_tell_every_tile(
    engine: StepEngine, folder: Path, tmp_path: Path
) -> None:
    entry = entry_for(tmp_path, FOLDED)
    one_by_one = DiffusersEngine(load_base(str(folder), CPU), lora_slots=1)
    for each in (engine, one_by_one):
        heard = Heard()
        made = each.enlarge(EnlargeJob(photo(), 2, entry), heard.append).result(timeout=60)
        assert furthest(made.pixels, whole(photo(), FOLDED, 2)) <= 1
        total = len(tiles(60, 90, 16, 0))
        assert heard.tiles() == [(number, total) for number in range(1, total + 1)]
        assert made.seconds["enlarging"] > 0
        assert each.residency()["upscalers"] == ["one"]
    one_by_one.close()


@pytest.mark.usefixtures("small_tiles")
def test_a_preview_overtakes_between_two_tiles(engine: StepEngine, tmp_path: Path) -> None:
    entry = entry_for(tmp_path, FOLDED)
    order: list[str] = []
    preview = make_job(1, preview=False, urgency=Urgency.PREVIEW)

    def on_tile(event: EngineEvent) -> None:
        if isinstance(event, TileDone) and event.tile == 1:
            made = engine.submit(preview, lambda _: None)
            made.add_done_callback(lambda _: order.append("preview"))

    large = engine.enlarge(EnlargeJob(photo(96, 96), 2, entry), on_tile)
    large.add_done_callback(lambda _: order.append("enlargement"))
    large.result(timeout=60)
    wait_until(lambda: len(order) == 2, seconds=60, description="both are done")
    assert order == ["preview", "enlargement"]


@pytest.mark.usefixtures("small_tiles")
def test_a_job_that_came_before_is_not_held_up_by_an_enlargement(
    engine: StepEngine, tmp_path: Path
) -> None:
    entry = entry_for(tmp_path, FOLDED)
    order: list[str] = []
    stages: list[object] = []

    def on_event(event: EngineEvent) -> None:
        stages.append(event)
        if isinstance(event, StageStarted) and len(stages) == 1:
            late = engine.enlarge(EnlargeJob(photo(96, 96), 2, entry), lambda _: None)
            late.add_done_callback(lambda _: order.append("enlargement"))

    first = engine.submit(make_job(1, preview=False), on_event)
    first.add_done_callback(lambda _: order.append("job"))
    wait_until(lambda: len(order) == 2, seconds=60, description="both are done")
    assert order == ["job", "enlargement"]


@pytest.mark.usefixtures("small_tiles")
def test_a_job_that_comes_later_need_not_wait_for_all_tiles(
    engine: StepEngine, tmp_path: Path
) -> None:
    entry = entry_for(tmp_path, FOLDED)
    order: list[str] = []

    def on_tile(event: EngineEvent) -> None:
        if isinstance(event, TileDone) and event.tile == 1:
            made = engine.submit(make_job(1, preview=False), lambda _: None)
            made.add_done_callback(lambda _: order.append("job"))

    large = engine.enlarge(EnlargeJob(photo(96, 96), 2, entry), on_tile)
    large.add_done_callback(lambda _: order.append("enlargement"))
    wait_until(lambda: len(order) == 2, seconds=60, description="both are done")
    assert order == ["job", "enlargement"]


@pytest.mark.usefixtures("small_tiles")
def test_an_enlargement_is_canceled_between_two_tiles_and_leaves_nothing_held(
    engine: StepEngine, folder: Path, tmp_path: Path
) -> None:
    entry = entry_for(tmp_path, FOLDED)
    one_by_one = DiffusersEngine(load_base(str(folder), CPU), lora_slots=1)
    for each in (engine, one_by_one):
        stop, heard = StopFlag(), Heard()

        def on_tile(event: EngineEvent, stop: StopFlag = stop, heard: Heard = heard) -> None:
            heard.append(event)
            if isinstance(event, TileDone) and event.tile == 2:
                stop.cancel()

        job = EnlargeJob(photo(), 2, entry, stop=stop)
        with pytest.raises(JobCanceled):
            each.enlarge(job, on_tile).result(timeout=60)
        assert len(heard.tiles()) == 2
    assert engine.upscalers.residency.drop_unused() > 0
    assert engine.upscalers.names() == []
    one_by_one.close()


@pytest.mark.usefixtures("small_tiles")
def test_out_of_memory_means_smaller_tiles_and_is_said(
    engine: StepEngine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enlarging, "tile_side", lambda _: 512)
    entry = entry_for(tmp_path, FOLDED)
    drawn = Enlarging._drawn

    def cramped(self: Enlarging, seen: Pixels) -> Pixels:
        if seen.shape[0] > 200:
            raise torch.OutOfMemoryError
        return drawn(self, seen)

    monkeypatch.setattr(Enlarging, "_drawn", cramped)
    one_by_one = DiffusersEngine(load_base(str(folder), CPU), lora_slots=1)
    picture = photo(256, 256)
    for each in (engine, one_by_one):
        made = each.enlarge(EnlargeJob(picture, 2, entry), lambda _: None).result(timeout=60)
        assert "smaller_tiles" in made.degraded
        assert furthest(made.pixels, whole(picture, FOLDED, 2)) <= 1
    monkeypatch.setattr(Enlarging, "_drawn", _never_fits)
    for each in (engine, one_by_one):
        with pytest.raises(OutOfMemory):
            each.enlarge(EnlargeJob(picture, 2, entry), lambda _: None).result(timeout=60)
    one_by_one.close()


def _never_fits(_self: Enlarging, _seen: Pixels) -> Pixels:
    raise torch.OutOfMemoryError


def test_what_cannot_be_loaded_fails_that_enlargement_alone(
    engine: StepEngine, tmp_path: Path
) -> None:
    entry = entry_for(tmp_path, Rrdb(8, 4, 1, 2, 1))
    entry.path.write_bytes(b"replaced")
    failed = engine.enlarge(EnlargeJob(photo(), 4, entry), lambda _: None)
    assert failed.exception(timeout=60) is not None
    other = entry_for(tmp_path, FOLDED, "other")
    assert engine.enlarge(EnlargeJob(photo(), 2, other), lambda _: None).result(timeout=60)
