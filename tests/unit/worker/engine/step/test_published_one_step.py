"""Files of published one-step restorers: read by their own key names, computed by their papers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from shared.loras.plans import modules_of
from tests.support.checkpoints import make_sd15
from tests.support.engine_jobs import (
    CPU,
    batch_sizes,
    fresh_base,
    make_job,
    psnr,
    run_all,
    start_engine,
)
from tests.support.one_step_files import Adapted, hypir, osediff, pisa_sr, switched
from worker.engine.interface import EngineJob, Pixels
from worker.engine.lora.lora_file import modules_of_pipeline
from worker.engine.step.step_engine import StepEngine

Predict = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LAYOUTS = {"osediff": osediff, "pisa_sr": pisa_sr, "HYPIR_sd2": hypir}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of SD 2.1-base's width, which predicts noise."""
    return make_sd15(tmp_path_factory.mktemp("base") / "sd21", 1024)


@pytest.fixture(scope="module")
def published(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each publication's networks, and the catalogue's entry for its file."""
    folder, pipeline, found = tmp_path_factory.mktemp("published"), fresh_base(base).pipeline, {}
    for name, make in LAYOUTS.items():
        torch.manual_seed(7)
        adapted = make(pipeline)
        path = folder / f"{name}.safetensors"
        if name == "HYPIR_sd2":
            adapted = replace(adapted, saved={"": adapted.saved})
        adapted.write(path)
        if name == "HYPIR_sd2":
            _without_leading_dots(path)
        modules = modules_of(str(base))
        assert modules is not None
        found[name] = (adapted, check_file(path, {"sd21": modules}))
    return found


def _without_leading_dots(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({key.removeprefix("."): value for key, value in load_file(path).items()}, path)


@pytest.fixture(params=["slots", "merged"])
def running(base: Path, request: pytest.FixtureRequest) -> Iterator[StepEngine]:
    """Eight rows a step; or one, whose LoRAs are merged."""
    engine = start_engine(base, **({} if request.param == "slots" else {"rows_per_step": 1}))
    yield engine
    engine.close()


@torch.inference_mode()
def by_paper(pipeline: Any, adapted: Adapted, job: EngineJob, predict: Predict) -> Pixels:
    """Encode by the adapted encoder, `predict` the restored latents, decode."""
    picture = torch.from_numpy(job.pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    posterior = adapted.vae.encode(picture).latent_dist
    generator = torch.Generator().manual_seed(job.seed)
    noise = randn_tensor(posterior.mean.shape, generator=generator)
    scaling = pipeline.vae.config.scaling_factor
    words = pipeline.encode_prompt(job.prompt, CPU, 1, False)[0]
    clean = predict((posterior.mean + posterior.std * noise) * scaling, words)
    decoded = pipeline.vae.decode(clean / scaling).sample
    levels = (decoded[0].clamp(-1, 1) + 1) * 127.5
    return levels.permute(1, 2, 0).round().to(torch.uint8).numpy()


def read_off(pipeline: Any, unet: Any, timestep: int) -> Predict:
    """OSEDiff (at 999) and HYPIR (at 200): the clean latents behind one prediction of noise."""
    signal = pipeline.scheduler.alphas_cumprod[timestep]

    def predict(z: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        noise = unet(z, timestep, encoder_hidden_states=words).sample
        return (z - (1 - signal).sqrt() * noise) / signal.sqrt()

    return predict


def weighed(unet: Any, pixel: float, semantic: float) -> Predict:
    """PiSA-SR: two predictions, with and without the semantic LoRA."""

    def predict(z: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        switched(unet, "_sem", True)
        both = unet(z, 1, encoder_hidden_states=words).sample
        switched(unet, "_sem", False)
        faithful = unet(z, 1, encoder_hidden_states=words).sample
        return z - pixel * faithful - semantic * (both - faithful)

    return predict


def job_of(entry: LoraEntry, **changes: object) -> EngineJob:
    """A job with the settings that the entry brings along."""
    few = entry.few_steps
    assert few is not None
    assert few.timestep is not None
    job = make_job(
        sampler=few.sampler, timestep=few.timestep, strength=1.0, steps=1, prompt="",
        predicts_difference=entry.predicts_difference, loras=((entry, 1.0),),
    )  # fmt: skip
    return replace(job, **changes)  # type: ignore[arg-type]


def furthest(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_their_files_are_available_and_bring_their_settings(published: dict[str, Any]) -> None:
    entries = {name: entry for name, (_, entry) in published.items()}
    assert {entry.state for entry in entries.values()} == {"available"}, entries
    assert {entry.base for entry in entries.values()} == {"sd21"}
    settings = {name: entry.few_steps for name, entry in entries.items()}
    assert [few.label for few in settings.values()] == ["OSEDiff", "PiSA-SR", "HYPIR"]
    assert {few.sampler for few in settings.values()} == {"once"}
    assert [few.timestep for few in settings.values()] == [999, 1, 200]
    assert [entry.predicts_difference for entry in entries.values()] == [False, True, False]


def test_the_gateway_knows_the_same_modules_as_the_worker(base: Path) -> None:
    gateway, worker = modules_of(str(base)), modules_of_pipeline(fresh_base(base).pipeline)
    assert gateway is not None
    assert gateway._parts["vae"] == worker._parts["vae"]


@pytest.mark.parametrize(("name", "timestep"), [("osediff", 999), ("HYPIR_sd2", 200)])
def test_a_picture_is_that_of_the_paper_to_a_grey_level(
    base: Path, published: dict[str, Any], running: StepEngine, name: str, timestep: int
) -> None:
    pipeline, (adapted, entry) = fresh_base(base).pipeline, published[name]
    job = job_of(entry)
    made = run_all(running, [job])[0].pixels
    expected = by_paper(pipeline, adapted, job, read_off(pipeline, adapted.unet, timestep))
    assert furthest(made, expected) <= 1
    assert psnr(made, run_all(running, [replace(job, loras=())])[0].pixels) < 40


@pytest.mark.parametrize(("pixel", "semantic"), [(1.0, 1.0), (0.6, 1.4), (1.2, 0.0), (0.0, 1.0)])
def test_two_parts_are_weighed_as_in_the_paper(
    base: Path, published: dict[str, Any], running: StepEngine, pixel: float, semantic: float
) -> None:
    pipeline, (adapted, entry) = fresh_base(base).pipeline, published["pisa_sr"]
    job = job_of(entry, pixel_scale=pixel, semantic_scale=semantic)
    for shared in (job, replace(job, deterministic=True), replace(job, strength=0.5)):
        made = run_all(running, [shared])[0].pixels
        share = shared.strength
        expected = by_paper(
            pipeline, adapted, job, weighed(adapted.unet, share * pixel, share * semantic)
        )
        assert furthest(made, expected) <= 1


def test_they_share_a_step_with_ordinary_jobs_and_nobody_can_tell(
    base: Path, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine(base)
    entries = [entry for _, entry in published.values()]
    jobs = [
        make_job(1, guidance_scale=5.0),
        job_of(entries[0]),
        job_of(entries[1], pixel_scale=0.5),
        make_job(4, sampler="lcm", steps=4, strength=1.0),
        job_of(entries[2]),
    ]
    alone = [run_all(engine, [job])[0].pixels for job in jobs]
    sizes = batch_sizes(engine, monkeypatch)
    together = run_all(engine, jobs)
    engine.close()
    assert max(sizes) == len(jobs)
    for result, expected in zip(together, alone, strict=True):
        assert psnr(result.pixels, expected) >= 45


def test_afterwards_the_base_is_what_it_was(published: dict[str, Any], running: StepEngine) -> None:
    plain = make_job(2, fidelity="residual")
    before = run_all(running, [plain])[0].pixels
    for _, entry in published.values():
        run_all(running, [job_of(entry, fidelity="low")])
        assert np.array_equal(run_all(running, [plain])[0].pixels, before)


def test_what_the_autoencoder_loses_is_measured_without_the_lora(
    base: Path, published: dict[str, Any], running: StepEngine
) -> None:
    _, entry = published["osediff"]
    job = job_of(entry)
    plain, faithful = (
        run_all(running, [replace(job, fidelity=mode)])[0].pixels for mode in ("none", "residual")
    )
    vae, source = fresh_base(base).pipeline.vae, torch.from_numpy(job.pixels).permute(2, 0, 1)
    with torch.inference_mode():
        picture = source[None].float() / 127.5 - 1
        lost = picture - vae.decode(vae.encode(picture).latent_dist.mode()).sample
    expected = plain + lost[0].permute(1, 2, 0).numpy() * 127.5
    inside = (expected > 1) & (expected < 254) & (plain > 0) & (plain < 255)
    assert inside.any()
    assert np.abs(faithful - expected)[inside].max() <= 1.01
