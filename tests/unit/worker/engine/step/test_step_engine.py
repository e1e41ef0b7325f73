"""Many rows on one device: each as if it were alone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import JobCanceled, LeaseLost, NoWorker, OutOfMemory
from shared.jobs import Stage
from tests.support.engine_jobs import (
    CPU,
    LIMITS,
    Loras,
    batch_sizes,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from worker.engine.base.base_loading import load_base
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import (
    EngineEvent,
    EngineResult,
    PreviewReady,
    StageStarted,
    StepDone,
    Urgency,
)
from worker.engine.step.rows import Row
from worker.engine.step.step_engine import StepEngine


def test_mixed_rows_in_one_batch_are_what_each_is_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given rows of different seed, strength, steps, guidance and prompt
    jobs = [
        make_job(1),
        make_job(2, strength=0.9, steps=7),
        make_job(3, guidance_scale=4.0, negative_prompt="blurry"),
        make_job(4, prompt="a cat", strength=0.05),
        make_job(5, strength=1.0, steps=20, guidance_scale=2.0),
        make_job(6, strength=0.7, steps=3),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    # When they run together
    sizes = batch_sizes(engine, monkeypatch)
    together = run_all(engine, jobs)
    # Then they really shared steps, and nobody can tell
    assert max(sizes) >= 4
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


@pytest.mark.parametrize("name", Loras._fields)
@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_a_lora_of_any_kind_is_applied_as_peft_applies_it(
    engine: StepEngine, folder: Path, loras: Loras, name: str, scale: float
) -> None:
    job = make_job(loras=((getattr(loras, name), scale),))
    peft = DiffusersEngine(load_base(str(folder), CPU), lora_slots=4)
    expected = peft.submit(job, lambda _: None).result(timeout=60)
    peft.close()
    assert psnr(run_all(engine, [job])[0].pixels, expected.pixels) >= 50
    assert psnr(run_all(engine, [make_job()])[0].pixels, expected.pixels) < 50


def test_two_loras_on_one_row_are_applied_as_peft_applies_them(
    engine: StepEngine, folder: Path, loras: Loras
) -> None:
    job = make_job(loras=((loras.narrow, 0.7), (loras.conv, 0.5)))
    peft = DiffusersEngine(load_base(str(folder), CPU), lora_slots=4)
    expected = peft.submit(job, lambda _: None).result(timeout=60)
    peft.close()
    assert psnr(run_all(engine, [job])[0].pixels, expected.pixels) >= 50


def test_rows_with_different_loras_in_flight_together_do_not_mix(
    engine: StepEngine, loras: Loras
) -> None:
    jobs = [make_job(i, loras=((lora, 1.0),)) for i, lora in enumerate(loras)]
    jobs += [make_job(9), make_job(8, loras=((loras.narrow, 0.5), (loras.wide, 1.0)))]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    together = run_all(engine, jobs)
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


@pytest.mark.parametrize("names", [("narrow", "wide"), ("conv", "text")])
def test_rows_with_different_loras_of_layers_convolutions_or_words_share_their_steps(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    one, other = (getattr(loras, name) for name in names)
    jobs = [
        make_job(1, loras=((one, 1.0),)),
        make_job(2, loras=((other, 0.7),)),
        make_job(3, loras=((one, 0.4), (other, -0.5)), guidance_scale=3.0),
        make_job(4),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    sizes = batch_sizes(engine, monkeypatch)
    together = run_all(engine, jobs)
    assert max(sizes) == 4
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


@pytest.mark.parametrize("name", ["narrow", "conv"])
def test_a_deterministic_row_has_equal_bits_alone_and_in_company(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given one that asks for it, and company that would share its steps
    asked = make_job(1, loras=((getattr(loras, name), 1.0),), deterministic=True)
    company = [make_job(seed, loras=((loras.wide, 1.0),)) for seed in (2, 3, 4)]
    alone = run_all(engine, [asked])[0].pixels
    sizes = batch_sizes(engine, monkeypatch)
    # When they run together
    together = run_all(engine, [company[0], asked, *company[1:]])
    # Then the others share their steps, and it none
    assert sizes.count(1) >= 4
    assert max(sizes) == 3
    np.testing.assert_array_equal(together[1].pixels, alone)


def test_a_lora_in_the_columns_leaves_no_trace_on_the_jobs_after_it(
    folder: Path, loras: Loras
) -> None:
    engine = start_engine(folder, merged_bytes=1)  # no room to keep merged ones
    with_lora = make_job(1, loras=((loras.narrow, 1.0),))
    none = run_all(engine, [make_job(1)])[0].pixels
    first = run_all(engine, [with_lora])[0].pixels
    assert engine._units.merger.in_place == ()
    assert engine._units._slots.names == ["narrow"]
    np.testing.assert_array_equal(run_all(engine, [make_job(1)])[0].pixels, none)
    np.testing.assert_array_equal(run_all(engine, [with_lora])[0].pixels, first)
    assert not np.array_equal(first, none)
    engine.close()


def test_after_two_hundred_switches_the_base_is_bit_for_bit_what_it_was(
    engine: StepEngine, loras: Loras
) -> None:
    before = run_all(engine, [make_job()])[0].pixels
    weights = {k: v.clone() for k, v in engine._pipeline.unet.state_dict().items()}
    small = np.zeros((16, 16, 3), np.uint8)
    for turn in range(200):
        lora = loras[turn % 3]
        run_all(engine, [make_job(pixels=small, steps=1, strength=0.05, loras=((lora, 1.0),))])
    after = run_all(engine, [make_job()])[0].pixels
    np.testing.assert_array_equal(after, before)
    for name, weight in engine._pipeline.unet.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    assert engine.adapters.size_bytes <= LIMITS.adapter_bytes
    assert engine._units.merger.merged.size_bytes <= LIMITS.merged_bytes


def test_jobs_with_one_lora_have_it_in_the_weights_and_mixed_ones_in_columns(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[set[tuple[bool, int]]] = []
    step = engine._units.step

    def noted(rows: list[Row]) -> None:
        step(rows)
        ways[-1].add((engine._units.merger.in_place == (), len(rows)))

    monkeypatch.setattr(engine._units, "step", noted)
    same = [make_job(seed, loras=((loras.narrow, 1.0),)) for seed in (1, 2, 3)]
    for jobs in (same, [*same, make_job(4)], [*same, make_job(5, loras=((loras.wide, 1.0),))]):
        ways.append(set())
        run_all(engine, jobs)
    assert (False, 3) in ways[0]
    assert all(not is_base for is_base, _ in ways[0])
    # In mixed company all step together with the base's own weights, however the first has begun.
    for mixed in ways[1:]:
        assert max(count for is_base, count in mixed if is_base) >= 3


@pytest.mark.parametrize("name", ["text", "conv"])
def test_a_merged_lora_leaves_no_trace_in_any_part_on_the_jobs_after_it(
    engine: StepEngine, loras: Loras, name: str
) -> None:
    # Given what the words come to without a LoRA, forgotten so that they are encoded again
    with_lora = make_job(1, loras=((getattr(loras, name), 1.0),), guidance_scale=3.0)
    without = replace(with_lora, loras=())
    parts = [engine._pipeline.unet, engine._pipeline.text_encoder]
    before = [{k: v.clone() for k, v in part.state_dict().items()} for part in parts]
    none = run_all(engine, [without])[0].pixels
    first = run_all(engine, [with_lora])[0].pixels
    engine._units.prompts._kept.clear()
    # When none has its turn again, and the LoRA once more
    np.testing.assert_array_equal(run_all(engine, [without])[0].pixels, none)
    for part, weights in zip(parts, before, strict=True):
        for key, weight in part.state_dict().items():
            assert torch.equal(weight, weights[key]), key
    np.testing.assert_array_equal(run_all(engine, [with_lora])[0].pixels, first)
    assert not np.array_equal(first, none)


def test_words_are_encoded_once_for_each_set_of_loras_that_changes_their_encoder(
    engine: StepEngine, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = engine._units.prompts._encode

    def counted(prompt: str, *rest: object) -> object:
        encoded.append(prompt)
        return encode(prompt, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._units.prompts, "_encode", counted)
    changes_words = ((loras.text, 1.0),)
    for adapters in ((), ((loras.narrow, 1.0),), changes_words, (), changes_words):
        run_all(engine, [make_job(1, prompt="a face", loras=adapters)])
    assert encoded == ["a face"] * 2  # the base's words, and those of the LoRA in their encoder
    run_all(engine, [make_job(1, prompt="a face", loras=((loras.text, 0.5),))])
    assert len(encoded) == 3


def test_a_row_that_joins_and_one_that_is_canceled_leave_the_others_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a long row and what it and a joining one are alone
    long_job, joining = make_job(1, steps=30, strength=1.0), make_job(2)
    expected = [run_all(engine, [job])[0].pixels for job in (long_job, joining)]
    doomed = make_job(3, steps=50, strength=1.0)
    started, sizes = threading.Event(), batch_sizes(engine, monkeypatch)
    # When one joins in the middle and another is canceled in the middle
    first = engine.submit(long_job, lambda _: started.set())
    canceled = engine.submit(doomed, lambda e: isinstance(e, StepDone) and doomed.stop.cancel())
    assert started.wait(30)
    second = engine.submit(joining, lambda _: None)
    # Then only the canceled one is gone
    with pytest.raises(JobCanceled):
        canceled.result(timeout=60)
    assert psnr(first.result(timeout=60).pixels, expected[0]) >= 45
    assert psnr(second.result(timeout=60).pixels, expected[1]) >= 45
    # And the joining one has shared steps that others had begun before it, and left before them
    together = [at for at, size in enumerate(sizes) if size > 1]
    assert len(together) >= 4
    assert sizes[-1] == 1


def test_no_step_is_told_twice_and_none_is_left_out(engine: StepEngine) -> None:
    told: dict[int, list[int]] = {}

    def listen(seed: int) -> Callable[[EngineEvent], None]:
        def on_event(event: EngineEvent) -> None:
            if isinstance(event, StepDone):
                told.setdefault(seed, []).append(event.step)

        return on_event

    jobs = [make_job(seed, steps=seed, strength=1.0) for seed in range(1, 9)]
    for future in [engine.submit(job, listen(job.seed)) for job in jobs]:
        future.result(timeout=60)
    assert told == {seed: list(range(1, seed + 1)) for seed in range(1, 9)}


def test_a_jobs_preview_overtakes_the_rows_before_it(engine: StepEngine) -> None:
    order: list[str] = []
    busy = make_job(1, steps=50, strength=1.0)
    small = make_job(2, preview=True, urgency=Urgency.BATCH)
    first = engine.submit(busy, lambda _: None)
    first.add_done_callback(lambda _: order.append("busy done"))

    def on_event(event: EngineEvent) -> None:
        if isinstance(event, PreviewReady):
            order.append("preview")

    second = engine.submit(small, on_event)
    second.result(timeout=60)
    first.result(timeout=60)
    assert order[0] == "preview"


def test_a_source_seen_before_is_not_encoded_again(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(engine, [make_job()])
    monkeypatch.setattr(engine._units.codec, "_encode", lambda *_: pytest.fail("encoded again"))
    run_all(engine, [make_job(strength=0.8, seed=3), make_job(prompt="another")])


def test_rows_that_are_coded_together_are_what_each_is_alone(
    folder: Path, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that takes three through the autoencoder at once, and rows of every kind
    engine = start_engine(folder, pixels_coded=3 * 64 * 48)
    other_size = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    same_picture = make_job(1).pixels
    jobs = [
        make_job(1, fidelity="residual"),
        make_job(2, pixels=same_picture, fidelity="residual"),
        make_job(3, loras=((loras.text, 1.0),), guidance_scale=3.0),
        make_job(4, loras=((loras.conv, 1.0),), fidelity="low"),
        make_job(5, pixels=other_size),
        make_job(6, deterministic=True),
        make_job(7),
        make_job(8, preview=True, fidelity="residual"),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    coded = [batch_sizes(engine, monkeypatch, unit) for unit in ("encode", "decode")]
    engine._units.codec.forget()
    # When they come together
    results = run_all(engine, jobs)
    # Then they really shared the work, and nobody can tell
    for sizes in coded:
        assert 1 < max(sizes) <= 3
        assert sum(sizes) == len(jobs) + 1
    for result, expected in zip(results, alone, strict=True):
        assert result.pixels.shape == expected.shape
        assert psnr(result.pixels, expected) >= 45
        assert {"encoding", "decoding"} <= result.seconds.keys()
    engine.close()


@pytest.mark.parametrize("unit", ["encode", "decode"])
def test_rows_that_do_not_fit_the_autoencoder_together_go_through_it_in_halves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    engine = start_engine(folder, pixels_coded=4 * 64 * 48)
    jobs = [make_job(seed) for seed in range(4)]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    original, tried = getattr(engine._units, unit), list[int]()

    def two_at_most(rows: list[object]) -> object:
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("injected")
        return original(rows)

    monkeypatch.setattr(engine._units, unit, two_at_most)
    results = run_all(engine, jobs)
    assert max(tried) > 2
    for result, expected in zip(results, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45
        assert set(result.degraded) <= {"adapters_evicted", "smaller_batch"}
    engine.close()


def test_known_sources_are_held_while_new_ones_are_encoded(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a cache with room for one source, which holds `known`
    codec = engine._units.codec
    known, new = torch.zeros(1, 3, 64, 48), torch.ones(1, 3, 64, 48)
    with torch.inference_mode():
        first = codec.moments({"known": known}, faithful=False)["known"]
        monkeypatch.setattr(codec._cache, "limit_bytes", first.size_bytes)
        found = codec.moments({"new": new, "known": known}, faithful=False)
        assert found["known"] is first
        assert not torch.equal(found["new"].mean, first.mean)


def out_of_memory(times: int) -> Callable[[], None]:
    left = [times]

    def maybe() -> None:
        if left[0] > 0:
            left[0] -= 1
            raise torch.OutOfMemoryError("injected")

    return maybe


def inject(engine: StepEngine, monkeypatch: pytest.MonkeyPatch, unit: str, times: int) -> None:
    original, maybe = getattr(engine._units, unit), out_of_memory(times)

    def work(rows: object) -> object:
        maybe()
        return original(rows)

    monkeypatch.setattr(engine._units, unit, work)


@pytest.mark.parametrize("unit", ["encode", "step", "decode"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_out_of_memory_anywhere_degrades_its_job_and_is_forgotten_by_the_next(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch, unit: str, times: int
) -> None:
    expected = run_all(engine, [make_job()])[0].pixels
    inject(engine, monkeypatch, unit, times)
    result = run_all(engine, [make_job()])[0]
    assert result.degraded
    assert result.pixels.shape == expected.shape
    after = run_all(engine, [make_job()])[0]
    assert after.degraded == ()
    np.testing.assert_array_equal(after.pixels, expected)


def test_what_does_not_fit_at_all_gets_smaller_and_in_the_end_fails_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.random.default_rng(0).integers(0, 256, (256, 192, 3), dtype=np.uint8)
    inject(engine, monkeypatch, "step", 4)
    result = run_all(engine, [make_job(pixels=large)])[0]
    assert "smaller_side" in result.degraded
    assert result.pixels.shape == large.shape
    monkeypatch.undo()
    inject(engine, monkeypatch, "step", 10_000)
    with pytest.raises(OutOfMemory):
        run_all(engine, [make_job(pixels=large)])
    monkeypatch.undo()
    run_all(engine, [make_job()])


def test_a_row_that_breaks_in_company_breaks_alone(
    engine: StepEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = engine._units.step

    def step(rows: list[object]) -> None:
        if any(row.job.seed == 13 for row in rows):  # type: ignore[attr-defined]
            raise RuntimeError("this row is cursed")
        original(rows)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._units, "step", step)
    futures: list[Future[EngineResult]] = [
        engine.submit(make_job(seed), lambda _: None) for seed in (1, 13, 2)
    ]
    with pytest.raises(RuntimeError, match="cursed"):
        futures[1].result(timeout=60)
    futures[0].result(timeout=60)
    futures[2].result(timeout=60)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("rows_per_step", [1, 8], ids=["merged", "in slots"])
@pytest.mark.parametrize("stage", [Stage.ENCODING, Stage.DENOISING, Stage.DECODING])
def test_a_preview_goes_first_in_the_middle_of_a_unit_and_both_pictures_are_right(
    folder: Path,
    loras: Loras,
    rows_per_step: int,
    stage: Stage,
    autocast: torch.dtype | None,
) -> None:
    # Given a job of one step, and a preview with another LoRA
    loaded = replace(load_base(str(folder), CPU), autocast=autocast)
    engine = StepEngine(loaded, replace(LIMITS, rows_per_step=rows_per_step))
    job = make_job(1, strength=0.05, loras=((loras.narrow, 1.0),))
    small = make_job(2, urgency=Urgency.PREVIEW, loras=((loras.wide, 1.0),))
    expected = [run_all(engine, [each])[0].pixels for each in (job, small)]
    engine._units.codec.forget()
    order, previews = list[object](), list[Future[EngineResult]]()

    def on_event(event: EngineEvent) -> None:
        order.append(event)
        if event == StageStarted(stage):
            # When it comes while the engine is about to do a unit of the job
            previews.append(engine.submit(small, lambda _: None))
            previews[0].add_done_callback(lambda _: order.append("preview"))
            engine._readers.submit(lambda: None).result()  # its LoRA is read

    result = engine.submit(job, on_event).result(timeout=60)
    engine.close()
    # Then it is done before that unit is, and neither picture has anything of the other
    assert order[order.index(StageStarted(stage)) + 1] == "preview"
    np.testing.assert_array_equal(previews[0].result(timeout=60).pixels, expected[1])
    np.testing.assert_array_equal(result.pixels, expected[0])


@pytest.mark.parametrize("limit", ["deadline", "lease", "cancel"])
def test_a_row_whose_time_is_over_leaves_at_the_next_step_and_alone(
    engine: StepEngine, limit: str
) -> None:
    good, ending = make_job(1, steps=20, strength=1.0), make_job(2, steps=50, strength=1.0)
    expected = run_all(engine, [good])[0].pixels
    told: list[int] = []

    def on_event(event: EngineEvent) -> None:
        if isinstance(event, StepDone):
            told.append(event.step)
            if event.step == 3:
                stops = {
                    "deadline": lambda: ending.stop.stop_after(0.0, NoWorker("too late")),
                    "lease": ending.stop.lose,
                    "cancel": ending.stop.cancel,
                }
                stops[limit]()

    futures = [engine.submit(good, lambda _: None), engine.submit(ending, on_event)]
    reasons = {"deadline": NoWorker, "lease": LeaseLost, "cancel": JobCanceled}
    assert isinstance(futures[1].exception(timeout=60), reasons[limit])
    assert told == [1, 2, 3]
    assert psnr(futures[0].result(timeout=60).pixels, expected) >= 45
