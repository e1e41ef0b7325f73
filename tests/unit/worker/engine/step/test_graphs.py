"""Recordings of the UNet, with a recorder that does without CUDA: buffers, sizes, variants."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.checkpoints import make_sdxl
from tests.support.compiled_blocks import Standing
from tests.support.engine_jobs import (
    LIMITS,
    Loras,
    fresh_base,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.built.use import Parts
from worker.engine.compiled.use import NAME, USUAL, CompiledBlocks
from worker.engine.step import graphs, units
from worker.engine.step.graphs import Graphs, Inputs
from worker.engine.step.step_engine import StepEngine

Captured = tuple[Callable[[], None], torch.Tensor]


def capture(function: Callable[[], torch.Tensor]) -> Captured:
    """As CUDA does it: the same buffers are read, the same result is written, every time."""
    output = function()

    def replay() -> None:
        output.copy_(function())

    return replay, output


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can be captured is, with its first call."""
    monkeypatch.setattr(graphs, "CALLS_BEFORE", 0)


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[StepEngine]:
    monkeypatch.setattr(units, "cuda_capture", lambda: capture)
    engine = start_engine(folder, graphs=True)
    yield engine
    engine.close()


def count(engine: StepEngine) -> int:
    assert engine._units.denoiser.graphs is not None
    return len(engine._units.denoiser.graphs)


def test_pictures_from_recordings_are_those_that_launching_makes(
    capturing: StepEngine, engine: StepEngine, loras: Loras
) -> None:
    jobs = [
        make_job(1),
        make_job(2, guidance_scale=3.0, strength=0.9, steps=6),
        make_job(3, loras=((loras.narrow, 1.0),)),
        # Its layers have no columns yet: what was captured before must not be used for it.
        make_job(4, loras=((loras.elsewhere, 0.5),)),
        make_job(5, loras=((loras.narrow, 1.0), (loras.elsewhere, 0.5)), guidance_scale=2.0),
        make_job(6, loras=((loras.conv, 1.0),)),
        make_job(7),
    ]
    for job in jobs:
        expected = run_all(engine, [job])[0].pixels
        assert psnr(run_all(capturing, [job])[0].pixels, expected) >= 60
    expected_together = [run_all(engine, [job])[0].pixels for job in jobs]
    for result, pixels in zip(run_all(capturing, jobs), expected_together, strict=True):
        assert psnr(result.pixels, pixels) >= 45


def test_a_recording_is_made_once_per_size_and_variant(capturing: StepEngine, loras: Loras) -> None:
    for _ in range(2):
        run_all(capturing, [make_job(1)])
    assert count(capturing) == 1
    run_all(capturing, [make_job(1, guidance_scale=3.0)])
    assert count(capturing) == 2
    # A LoRA in the weights is the same kernels over the same memory.
    run_all(capturing, [make_job(1, loras=((loras.narrow, 1.0),))])
    run_all(capturing, [make_job(2, loras=((loras.conv, -1.0),), prompt="another")])
    assert count(capturing) == 2


def test_a_recording_has_the_lora_that_is_in_the_weights_now_and_no_other(
    capturing: StepEngine, engine: StepEngine, loras: Loras
) -> None:
    for adapters in ((), ((loras.conv, 1.0),), ((loras.text, 0.5),), (), ((loras.conv, -1.0),)):
        # A deterministic job's LoRAs are in the weights, whatever slots are free.
        job = make_job(1, loras=adapters, guidance_scale=2.0, deterministic=True)
        expected = run_all(engine, [job])[0].pixels
        np.testing.assert_array_equal(run_all(capturing, [job])[0].pixels, expected)
    assert count(capturing) == 1


def test_what_is_kept_of_the_base_goes_when_memory_is_short_and_the_base_is_itself(
    capturing: StepEngine, loras: Loras
) -> None:
    job = make_job(1, loras=((loras.conv, 1.0),))
    none, first = (run_all(capturing, [each])[0].pixels for each in (make_job(1), job))
    merger = capturing._units.merger
    # While the LoRA is in place what is beneath it stays
    merger.drop_unused()
    np.testing.assert_array_equal(run_all(capturing, [make_job(1)])[0].pixels, none)
    assert merger.drop_unused() > 0
    assert not merger._kept
    np.testing.assert_array_equal(run_all(capturing, [job])[0].pixels, first)
    np.testing.assert_array_equal(run_all(capturing, [make_job(1)])[0].pixels, none)


def test_weights_that_are_exchanged_for_want_of_room_are_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, loras: Loras
) -> None:
    monkeypatch.setattr(units, "cuda_capture", lambda: capture)
    engine = start_engine(folder, graphs=True, merged_bytes=1)
    job = make_job(1, deterministic=True)
    none = run_all(engine, [job])[0].pixels
    changed = run_all(engine, [replace(job, loras=((loras.conv, 1.0),))])[0].pixels
    assert count(engine) == 1
    assert not np.array_equal(changed, none)
    np.testing.assert_array_equal(run_all(engine, [job])[0].pixels, none)
    engine.close()


def test_sdxl_is_recorded_with_its_added_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "cuda_capture", lambda: capture)
    folder, pictures = make_sdxl(tmp_path), []
    for records in (False, True):
        engine = start_engine(folder, graphs=records)
        pictures.append(run_all(engine, [make_job(1, guidance_scale=3.0)])[0].pixels)
        engine.close()
    assert psnr(*pictures) >= 60


def test_out_of_memory_drops_the_recordings(capturing: StepEngine) -> None:
    expected = run_all(capturing, [make_job(1)])[0].pixels
    assert capturing._ladder._recovery.evict_adapters()
    assert count(capturing) == 0
    np.testing.assert_array_equal(run_all(capturing, [make_job(1)])[0].pixels, expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 16, 17])
def test_rows_are_filled_up_and_only_their_own_results_come_back(rows: int) -> None:
    seen: list[int] = []

    def double(inputs: object) -> torch.Tensor:
        x: torch.Tensor = inputs["x"]  # type: ignore[index]
        seen.append(x.shape[0])
        return x * 2

    captured = Graphs(double, capture, Parts())
    for start_at in (0.0, 100.0):
        x = torch.arange(rows, dtype=torch.float32)[:, None] + start_at
        torch.testing.assert_close(captured.run("any", {"x": x}), x * 2)
    assert set(seen) == {next((size for size in (1, 2, 4, 8, 16) if size >= rows), rows)}


def test_a_shape_is_recorded_once_it_has_been_seen_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "CALLS_BEFORE", 3)
    captured = Graphs(lambda inputs: inputs["x"] * 2, capture, Parts())
    for call in range(1, 6):
        x = torch.full((1, 4), float(call))
        torch.testing.assert_close(captured.run("any", {"x": x}), x * 2)
        assert len(captured) == (call > 3)


def test_the_recording_that_was_used_longest_ago_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graphs, "MOST", 2)
    made: list[int] = []

    def call(inputs: Inputs) -> torch.Tensor:
        made.append(inputs["x"].shape[1])
        return inputs["x"] * 2

    def capture_once(function: Callable[[], torch.Tensor]) -> Captured:
        output = function()
        return lambda: None, output

    captured = Graphs(call, capture_once, Parts())
    for width in (1, 2, 1, 3, 1, 2):
        captured.run("any", {"x": torch.zeros(1, width)})
    assert made == [1, 2, 3, 2]
    assert len(captured) == 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_what_cannot_be_recorded_is_launched_from_then_on(error: type[Exception]) -> None:
    tried: list[int] = []

    def failing(_function: Callable[[], torch.Tensor]) -> Captured:
        tried.append(1)
        raise error("injected")

    captured = Graphs(lambda inputs: inputs["x"] * 2, failing, Parts())
    for _ in range(3):
        x = torch.ones(1, 4)
        torch.testing.assert_close(captured.run("any", {"x": x}), x * 2)
    assert (len(tried), len(captured)) == (1, 0)


def capture_without_calls(function: Callable[[], torch.Tensor]) -> Captured:
    """As on a device: a replay calls nothing."""
    output = function()
    return lambda: None, output


class Telling:
    """Blocks in a network's place: they double their input, by code if there is some."""

    def __init__(self) -> None:
        self.blocks = CompiledBlocks({}, Standing())  # type: ignore[arg-type]
        self.code = ""

    def got(self, code: str) -> None:
        self.code = code
        self.blocks.background.generation += 1

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        self.blocks.tell(self.code or USUAL)
        return inputs["x"] * 2


def test_a_replay_tells_what_computed_when_it_was_recorded() -> None:
    network = Telling()
    parts = Parts(None, network.blocks)
    captured = Graphs(network, capture_without_calls, parts)
    network.got(NAME)
    for _ in range(3):
        told: dict[str, set[str]] = {}
        with parts.telling([told]), parts.usual("unet"):
            captured.run("any", {"x": torch.ones(1, 4)})
        assert told == {"unet": {NAME}}


def test_recordings_are_made_anew_when_blocks_have_got_code() -> None:
    network = Telling()
    captured = Graphs(network, capture_without_calls, Parts(None, network.blocks))
    for code in ("", NAME, ""):
        network.got(code)
        with network.blocks.listening() as names:
            captured.run("any", {"x": torch.ones(1, 4)})
        assert (names, len(captured)) == ({code or USUAL}, 1)


def test_pictures_from_recordings_are_those_of_compiled_blocks(
    monkeypatch: pytest.MonkeyPatch, folder: Path, engine: StepEngine, loras: Loras
) -> None:
    monkeypatch.setattr(units, "cuda_capture", lambda: capture)
    loaded, standing = fresh_base(folder), Standing()
    networks = {"unet": loaded.pipeline.unet, "vae": loaded.pipeline.vae}
    blocks = CompiledBlocks(networks, standing)  # type: ignore[arg-type]
    recording = StepEngine(loaded, replace(LIMITS, graphs=True), None, blocks)
    try:
        for job in (make_job(1), make_job(2, loras=((loras.conv, 1.0),)), make_job(3)):
            result = run_all(recording, [job])[0]
            assert result.ran_by["unet"] == NAME
            assert psnr(result.pixels, run_all(engine, [job])[0].pixels) >= 60
        assert count(recording) == 1
        standing.generation += 1
        assert run_all(recording, [make_job(1)])[0].ran_by["unet"] == NAME
        assert count(recording) == 1
    finally:
        recording.close()
