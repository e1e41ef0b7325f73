"""Weights of eight bits: the same pictures as before to the eye, with and without LoRAs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from shared.checkpoints.facts import BadCheckpoint
from shared.settings import Settings
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
from tests.support.transformer_checkpoints import make_flux, make_sd3, make_transformer_lora
from worker.engine.base.base_loading import load_base
from worker.engine.base.memory_plan import size_of
from worker.engine.base.quantizing import quantize_blocks
from worker.engine.engine_choice import warm_engine
from worker.engine.lora.int8 import is_quantized, plain_weight, quantize_layer
from worker.engine.step.step_engine import StepEngine

EMBEDDED = Path(__file__).parents[5] / "models" / "tiny"


@pytest.fixture
def rounded(folder: Path) -> Iterator[StepEngine]:
    engine = StepEngine(load_base(str(folder), CPU, quantize="int8"), LIMITS)
    yield engine
    engine.close()


def test_a_weight_is_off_by_half_a_step_at_most() -> None:
    for layer in (torch.nn.Linear(30, 20), torch.nn.Conv2d(6, 20, 3)):
        before = layer.weight.detach().clone()
        quantize_layer(layer)
        assert is_quantized(layer)
        step = before.flatten(1).abs().amax(1) / 127
        error = (plain_weight(layer) - before).flatten(1).abs().amax(1)
        assert (error <= step / 2 * 1.001).all()


def test_the_blocks_shrink_to_a_quarter_of_single_precision(folder: Path) -> None:
    base, full = (load_base(str(folder), CPU, quantize=how) for how in ("int8", "none"))
    assert size_of(base.pipeline.unet) < 0.35 * size_of(full.pipeline.unet)
    assert base.fingerprint == f"int8-{full.fingerprint}"


def test_pictures_of_the_embedded_base_stay_the_same_to_the_eye() -> None:
    smooth = np.linspace(0, 255, 96)[None, :, None] * np.ones((64, 1, 3))
    grain = np.random.default_rng(1).normal(0, 12, (64, 96, 3))
    job = make_job(pixels=np.clip(smooth + grain, 0, 255).astype(np.uint8), strength=0.4)
    pictures = []
    for how in ("none", "int8"):
        engine = StepEngine(load_base(str(EMBEDDED), CPU, quantize=how), LIMITS)
        pictures.append(run_all(engine, [job])[0].pixels)
        engine.close()
    assert psnr(*pictures) >= 40


def test_loras_act_on_rounded_weights_as_on_others_and_leave_them_as_they_were(
    rounded: StepEngine, folder: Path, loras: Loras, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = start_engine(folder)
    plain = make_job(1)
    jobs = [plain, *(make_job(i, loras=((lora, 1.0),)) for i, lora in enumerate(loras[:4], 2))]
    sizes = batch_sizes(rounded, monkeypatch)
    together = run_all(rounded, jobs)
    assert max(sizes) == len(jobs)
    alone = [run_all(rounded, [replace(job, deterministic=True)])[0].pixels for job in jobs]
    for result, merged, exact in zip(together, alone, run_all(full, jobs), strict=True):
        assert psnr(result.pixels, merged) >= 45
        assert psnr(result.pixels, exact.pixels) >= 30
    full.close()
    again = run_all(rounded, [replace(plain, deterministic=True)])[0].pixels
    assert np.array_equal(again, alone[0])
    assert rounded.complaint() is None


@pytest.mark.parametrize("make", [make_sd3, make_flux])
def test_a_transformer_makes_the_same_pictures_to_the_eye_with_and_without_a_lora(
    make: Callable[[Path], Path], tmp_path: Path, settings: Settings
) -> None:
    folder = make(tmp_path / "base")
    lora = make_transformer_lora(folder, tmp_path)
    # A LoRA of random weights must be strong to be seen.
    alone, changed = (
        make_job(strength=1.0, steps=2, loras=loras) for loras in ((), ((lora, 30.0),))
    )
    pictures, predictions = [], []
    for how in ("none", "int8"):
        loaded, outputs = load_base(str(folder), CPU, quantize=how), list[torch.Tensor]()
        loaded.pipeline.transformer.register_forward_hook(
            lambda _module, _args, output, into=outputs: into.append(output[0].clone())
        )
        engine = warm_engine(loaded, settings)
        pictures.append([run_all(engine, [job])[0].pixels for job in (alone, changed, alone)])
        predictions.append(outputs)
        engine.close()
    for exact, rounded in zip(*pictures, strict=True):
        assert psnr(exact, rounded) >= 55
    for exact, rounded in zip(*predictions, strict=True):
        assert 10 * torch.log10(exact.var() / (exact - rounded).square().mean()) >= 45
    assert psnr(pictures[0][0], pictures[0][1]) < 35
    np.testing.assert_array_equal(pictures[1][0], pictures[1][2])


def test_only_a_transformers_blocks_are_rounded(tmp_path: Path) -> None:
    loaded = load_base(str(make_flux(tmp_path)), CPU, quantize="int8")
    network = loaded.pipeline.transformer
    linears = {n: one for n, one in network.named_modules() if isinstance(one, torch.nn.Linear)}
    kept = {name.partition(".")[0] for name, one in linears.items() if not is_quantized(one)}
    assert kept == {"time_text_embed", "context_embedder", "x_embedder", "norm_out", "proj_out"}
    assert loaded.fingerprint.startswith("int8-")


def test_a_base_without_blocks_is_refused_in_words() -> None:
    with pytest.raises(BadCheckpoint, match="has no blocks that RETOUCH_QUANTIZE=int8"):
        quantize_blocks(SimpleNamespace())
