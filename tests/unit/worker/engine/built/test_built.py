"""Built engines, with torch.export or a copy in TensorRT's place: made, kept, chosen, given up."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.settings import Settings
from tests.support.checkpoints import make_sdxl
from tests.support.engine_jobs import CPU, LIMITS, Loras, fresh_base, make_job, psnr, run_all
from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.built import command
from worker.engine.built.compiler import CannotBuild, Compiler, tensorrt
from worker.engine.built.engine_cache import ENGINE, KEY, EngineCache
from worker.engine.built.parts import DECODER, ENCODER, UNET
from worker.engine.engine_choice import find_engine_cache, warm_engine
from worker.engine.step.step_engine import StepEngine

# Jobs of the engine's tests are 48 x 64 pixels; two evaluations are one row with guidance.
SIZES, BATCHES = [(48, 64)], [1, 2]
PLAIN, GUIDED = make_job(1), make_job(2, guidance_scale=3.0)


def export(module: torch.nn.Module, inputs: Sequence[torch.Tensor], path: Path) -> None:
    with warnings.catch_warnings():
        # Weights in channels_last are incomplete to torch's eyes; they come back as they were.
        warnings.filterwarnings("ignore", message="No complete tensor found", category=UserWarning)
        torch.export.save(torch.export.export(module, tuple(inputs)), path)


EXPORTING = Compiler("exported", ("torch 1",), export)


class Copying(Compiler):
    """Keeps a copy of each part where `EXPORTING` takes a second to export and another to load."""

    def load(self, path: Path) -> Callable[..., Any]:
        module: Callable[..., Any] = torch.load(path, weights_only=False)
        return module


def copy(module: torch.nn.Module, _inputs: Sequence[torch.Tensor], path: Path) -> None:
    torch.save(module, path)


COMPILER = Copying("exported", ("torch 1",), copy)


@pytest.fixture(scope="module")
def engines(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built for the checkpoint of SD 1.5's classes."""
    into = tmp_path_factory.mktemp("data") / "engines"
    command.build(fresh_base(folder), COMPILER, into, SIZES, BATCHES)
    return into


def started(folder: Path, engines: Path, compiler: Compiler = COMPILER) -> StepEngine:
    loaded = fresh_base(folder)
    return StepEngine(loaded, LIMITS, EngineCache(engines, loaded, compiler))


@pytest.fixture
def built(folder: Path, engines: Path) -> Iterator[StepEngine]:
    engine = started(folder, engines)
    yield engine
    engine.close()


@pytest.mark.timeout(300)  # to export each part is much work for a busy machine
def test_every_built_part_gives_what_the_part_itself_gives(folder: Path, tmp_path: Path) -> None:
    loaded = fresh_base(folder)
    command.build(loaded, EXPORTING, tmp_path, SIZES, [1])
    engine_cache = EngineCache(tmp_path, loaded, EXPORTING)
    with torch.inference_mode():
        plan = list(command.planned(loaded, SIZES, [1]))
    assert [part for part, _, _ in plan] == [ENCODER, DECODER, UNET, "text_encoder"]
    for planned in plan:
        assert_equal_to_the_usual_way(engine_cache, *planned)


def test_sdxls_conditions_and_both_its_text_encoders_are_built(tmp_path: Path) -> None:
    loaded = load_base(str(make_sdxl(tmp_path / "base")), CPU)
    engine_cache = EngineCache(tmp_path / "engines", loaded, EXPORTING)
    with torch.inference_mode():
        plan = list(command.planned(loaded, SIZES, [2]))
    wanted = [UNET, "text_encoder", "text_encoder_2"]
    assert [part for part, _, _ in plan] == [ENCODER, DECODER, *wanted]
    for part, module, inputs in plan[2:]:
        with torch.no_grad():
            assert engine_cache.build(part, module, [x.clone() for x in inputs])
        assert_equal_to_the_usual_way(engine_cache, part, module, inputs)


def assert_equal_to_the_usual_way(
    engine_cache: EngineCache, part: str, module: torch.nn.Module, inputs: Sequence[torch.Tensor]
) -> None:
    """With other values than those that were there when it was built."""
    drawn = [torch.randn_like(x) if x.is_floating_point() else x + 5 for x in inputs]
    with torch.inference_mode():
        expected, output = module(*drawn), engine_cache.run(part, drawn)
    assert output is not None
    torch.testing.assert_close(output, tuple(expected), atol=1e-4, rtol=1e-4)


def test_jobs_without_a_lora_take_built_parts_and_say_so(
    built: StepEngine, engine: StepEngine
) -> None:
    for job in (PLAIN, GUIDED):
        result, expected = run_all(built, [job])[0], run_all(engine, [job])[0]
        assert set(expected.ran_by.values()) == {"torch"}
        assert result.ran_by == dict.fromkeys(expected.ran_by, "exported")
        assert {UNET, ENCODER, DECODER, "text_encoder"} == set(result.ran_by)
        assert psnr(result.pixels, expected.pixels) >= 60


def test_a_part_built_for_more_evaluations_serves_fewer(
    folder: Path, engines: Path, tmp_path: Path, engine: StepEngine
) -> None:
    # Given the UNet for two evaluations and not for one
    some = shutil.copytree(engines, tmp_path / "engines")
    for key in some.glob(f"*/{KEY}"):
        known = json.loads(key.read_text())
        if known["part"] == UNET and known["shapes"][0][0][0] == 1:
            shutil.rmtree(key.parent)
    running = started(folder, some)
    result = run_all(running, [PLAIN])[0]
    running.close()
    assert result.ran_by[UNET] == "exported"
    assert psnr(result.pixels, run_all(engine, [PLAIN])[0].pixels) >= 60


@pytest.mark.parametrize("name", ["narrow", "conv", "text"])
def test_a_lora_is_never_left_out_for_a_built_part(
    built: StepEngine, engine: StepEngine, loras: Loras, name: str
) -> None:
    job = make_job(3, loras=((getattr(loras, name), 1.0),))
    result, expected = run_all(built, [job])[0], run_all(engine, [job])[0]
    assert result.ran_by[UNET] == "torch"
    assert psnr(result.pixels, expected.pixels) >= 60
    assert psnr(result.pixels, run_all(built, [make_job(3)])[0].pixels) < 50


def test_rows_without_a_lora_in_company_of_one_with_go_the_usual_way_together(
    built: StepEngine, loras: Loras
) -> None:
    jobs = [make_job(1, steps=20, strength=1.0), make_job(2, loras=((loras.narrow, 1.0),))]
    alone = [run_all(built, [job])[0].pixels for job in jobs]
    together = run_all(built, jobs)
    assert together[1].ran_by[UNET] == "torch"
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


def test_other_shapes_than_those_that_were_built_go_the_usual_way(built: StepEngine) -> None:
    wide = np.zeros((64, 80, 3), np.uint8)
    ran_by = run_all(built, [make_job(1, pixels=wide)])[0].ran_by
    assert (ran_by[UNET], ran_by[DECODER]) == ("torch", "torch")


def test_what_is_built_is_kept_and_not_built_again(folder: Path, engines: Path) -> None:
    again = replace(COMPILER, build=lambda *_: pytest.fail("built again"))
    command.build(fresh_base(folder), again, engines, SIZES, BATCHES)


STALE = {
    "other versions": lambda loaded: (loaded, replace(COMPILER, versions=("torch 2",))),
    "other weights": lambda loaded: (_changed(loaded), COMPILER),
}


@pytest.mark.parametrize("what", STALE)
def test_a_stale_part_is_not_used(folder: Path, engines: Path, what: str) -> None:
    loaded, compiler = STALE[what](fresh_base(folder))
    running = StepEngine(loaded, LIMITS, EngineCache(engines, loaded, compiler))
    assert run_all(running, [PLAIN])[0].ran_by[UNET] == "torch"
    running.close()


def _changed(loaded: LoadedBase) -> LoadedBase:
    loaded.pipeline.unet.conv_in.bias.data[0] += 1.0
    return loaded


@pytest.mark.parametrize("harm", ["not loaded", "failed"])
def test_a_broken_part_is_given_up_with_a_line_in_the_log_and_costs_no_picture(
    folder: Path,
    engines: Path,
    tmp_path: Path,
    engine: StepEngine,
    monkeypatch: pytest.MonkeyPatch,
    harm: str,
) -> None:
    # Given a UNet that was built and then spoiled
    into, said = shutil.copytree(engines, tmp_path / "engines"), list[str]()
    running = started(folder, into)
    engine_cache = running._units.parts._engine_cache
    assert engine_cache is not None
    monkeypatch.setattr(
        "worker.engine.built.engine_cache.logger.warning", lambda event, **_: said.append(event)
    )
    if harm == "not loaded":
        for path in into.glob(f"*/{ENGINE}"):
            path.write_bytes(b"no engine")
    else:
        monkeypatch.setattr(Copying, "load", lambda *_: _fail)
    # When jobs come
    results, lines = [], []
    for job in (PLAIN, PLAIN):
        results += run_all(running, [job])
        lines.append(len(said))
    running.close()
    # Then each is tried once, and the pictures are those of the usual way
    assert set(said) == {f"TensorRT engine {harm}"}
    assert lines[0] == lines[1] >= 4
    expected = run_all(engine, [PLAIN])[0]
    for result in results:
        assert set(result.ran_by.values()) == {"torch"}
        np.testing.assert_array_equal(result.pixels, expected.pixels)


def _fail(*_: object) -> object:
    raise RuntimeError("the engine is cursed")


def test_out_of_memory_in_a_built_part_is_the_ladders_business(
    folder: Path, engines: Path, engine: StepEngine
) -> None:
    running, failures = started(folder, engines), [1]
    engine_cache = running._units.parts._engine_cache
    assert engine_cache is not None
    found = engine_cache._found

    def scarce(part: str, shapes: Any) -> Any:
        run = found(part, shapes)

        def first_time(*inputs: torch.Tensor) -> Any:
            if part == UNET and failures[0]:
                failures[0] -= 1
                raise torch.OutOfMemoryError("injected")
            return run(*inputs)

        return first_time if run else None

    engine_cache._found = scarce  # type: ignore[method-assign]
    result = run_all(running, [PLAIN])[0]
    after = run_all(running, [PLAIN])[0]
    running.close()
    assert result.degraded == ("adapters_evicted",)
    assert psnr(result.pixels, run_all(engine, [PLAIN])[0].pixels) >= 45
    assert (after.degraded, after.ran_by[UNET]) == ((), "exported")


def test_a_build_that_ends_in_the_middle_leaves_nothing_that_could_be_taken_for_whole(
    folder: Path, tmp_path: Path
) -> None:
    def half(_module: torch.nn.Module, _inputs: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    loaded = fresh_base(folder)
    with pytest.raises(KeyboardInterrupt):
        command.build(loaded, replace(COMPILER, build=half), tmp_path / "e", SIZES, [1])
    assert list((tmp_path / "e").iterdir()) == []


def test_the_worker_uses_what_lies_in_its_data_folder_unless_told_not_to(
    folder: Path,
    engines: Path,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(base_model=str(folder), device="cpu")
    monkeypatch.setattr("worker.engine.engine_choice.tensorrt", lambda: COMPILER)
    shutil.copytree(engines, settings.data_dir / "engines")
    used = []
    for ours in (settings, settings.model_copy(update={"built_engines": False})):
        engine = warm_engine(fresh_base(folder), ours)
        used.append(run_all(engine, [PLAIN])[0].ran_by[UNET])
        engine.close()
    assert used == ["exported", "torch"]


@pytest.fixture(autouse=True)
def no_logging_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process configures its logging once: what the command sets would stay for other tests."""
    monkeypatch.setattr(command, "configure_logging", lambda _settings: None)


def test_without_an_nvidia_device_the_command_refuses_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([]) == 1
    said = capsys.readouterr().out
    assert "NVIDIA" in said
    assert "retouch doctor" in said


def test_without_torch_tensorrt_the_command_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(__import__("sys").modules, "torch_tensorrt", None)
    with pytest.raises(CannotBuild, match=r"pip install '\.\[tensorrt\]'"):
        tensorrt()


def test_engines_that_cannot_be_used_here_are_told_of_and_not_used(
    folder: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, said = make_settings(), list[str]()
    (settings.data_dir / "engines").mkdir(parents=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        "worker.engine.engine_choice.logger.warning", lambda event, **_: said.append(event)
    )
    assert find_engine_cache(fresh_base(folder), settings) is None
    assert said == ["TensorRT engines not used"]


def test_the_command_builds_what_its_options_name(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RETOUCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RETOUCH_DEVICE", "cpu")
    asked = ["--base", str(folder), "--size", "32x48", "--batch", "1"]
    assert command.main(asked, lambda: COMPILER) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[0] for line in lines if ": built in" in line]
    assert said == [ENCODER, DECODER, UNET, "text_encoder"]
    assert len(list((tmp_path / "engines").iterdir())) == 4
