"""A LoRA for one prediction: learned, continued after a stop, and served by dropping its file."""

import os
import signal
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.bases import identify_base
from shared.defaults import with_defaults
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from shared.params import JobParams
from tests.support.checkpoints import make_sd21
from tests.support.engine_jobs import run_all, start_engine
from worker.engine.interface import StopFlag
from worker.job.attempt import engine_job
from worker.training.adapter import add_adapter, load_adapter_state
from worker.training.frozen_base import load_frozen
from worker.training.main import parse
from worker.training.once import OnceLoss, predicted_once
from worker.training.photos import load_photos
from worker.training.recipe import Recipe
from worker.training.train import Outcome, Places, train
from worker.training.validation import restore

CPU = torch.device("cpu")


@pytest.fixture
def recipe(small_base: Path) -> Recipe:
    return replace(
        parse(["photos", "--name", "toy", "--base", str(small_base), "--once"])[0],
        treats=("noise",), rank=4, steps=8, batch=2, crop=32, held_out=2, report_every=4, warmup=2,
        bfloat16=False,
    )  # fmt: skip


@pytest.fixture
def places(photo_folder: Path, tmp_path: Path) -> Places:
    return Places(photo_folder, tmp_path / "loras", tmp_path / "run")


def quiet(_progress: object) -> None:
    """A run that nobody watches."""


def test_a_prediction_is_read_off_as_the_schedulers_do(tmp_path: Path) -> None:
    base = load_frozen(str(make_sd21(tmp_path / "base")), CPU, bfloat16=False)
    z, words = torch.randn(1, 4, 8, 8), base.embed([""])
    with torch.no_grad():
        found = predicted_once(base, z, 200, words)
        output = base.unet(z, 200, words.states).sample
    signal_share = base.scheduler.alphas_cumprod[200]
    velocity = signal_share.sqrt() * z - (1 - signal_share).sqrt() * output
    torch.testing.assert_close(found, velocity, atol=1e-5, rtol=1e-4)


def test_the_loss_reaches_the_adapter(tmp_path: Path, recipe: Recipe, photo_folder: Path) -> None:
    base = load_frozen(str(make_sd21(tmp_path / "base")), CPU, bfloat16=False)
    photos = load_photos(photo_folder, 32, 0, 512).training
    parameters = add_adapter(base.unet, 4, convolutions=True)
    loss = OnceLoss(base, photos, recipe)(np.random.default_rng(0), 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    assert any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in parameters)


def test_a_stopped_run_goes_on_to_the_same_weights_and_its_file_is_served_as_judged(
    recipe: Recipe, places: Places, tmp_path: Path
) -> None:
    whole = train(recipe, places, CPU, quiet)
    halves = replace(places, loras=tmp_path / "other", run=tmp_path / "other-run")

    def stop_at_five(progress: object) -> None:
        if getattr(progress, "step", 0) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    assert not train(recipe, halves, CPU, stop_at_five).finished
    resumed = train(recipe, halves, CPU, quiet)
    one, other = (load_file(str(outcome.lora)) for outcome in (whole, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    _is_served_as_judged(recipe, places, whole)


def _is_served_as_judged(recipe: Recipe, places: Places, outcome: Outcome) -> None:
    assert outcome.lora is not None
    sidecar = tomllib.loads(outcome.lora.with_suffix(".toml").read_text("utf-8"))
    kept = {key: sidecar[key] for key in ("sampler", "timestep", "strength", "fidelity", "prompt")}
    assert kept == {
        "sampler": "once", "timestep": 200, "strength": 1.0, "fidelity": "wavelet", "prompt": "",
    }  # fmt: skip
    entry = _offered(places.loras)
    photo = load_photos(places.photos, 32, 0, 512).training[0].pixels
    params = with_defaults(JobParams(seed=1, preview=False), [entry], identify_base(recipe.base))
    engine = start_engine(Path(recipe.base))
    made = run_all(engine, [engine_job(photo, params, ((entry, 1.0),), StopFlag())])[0].pixels
    engine.close()
    base = load_frozen(recipe.base, CPU, bfloat16=False)
    add_adapter(base.unet, recipe.rank, recipe.convolutions)
    tensors = load_file(str(outcome.lora))
    load_adapter_state(base.unet, {k.removeprefix("unet."): v.float() for k, v in tensors.items()})
    judged = restore(base, photo, recipe, base.embed([""]))
    assert np.abs(made.astype(int) - judged.astype(int)).max() <= 1


def _offered(folder: Path) -> LoraEntry:
    catalog = Catalog(folder, "tiny")
    catalog.scan()
    (entry,) = catalog.entries()
    assert entry.state == "available", entry.reason
    return entry


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_makes_held_out_photos_better(
    recipe: Recipe, places: Places, learning_base: Path
) -> None:
    longer = replace(
        recipe, base=str(learning_base), steps=300, learning_rate=5e-3, report_every=50, rank=16,
        warmup=10,
    )  # fmt: skip
    outcome = train(longer, places, CPU, quiet)
    assert outcome.gain is not None
    assert outcome.gain > 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--once", "--graded"], "not for graded"),
        (["--once", "--task", "style"], "once is for restoring"),
        (["--once", "--timestep", "1000"], "timestep must be 1 to 999"),
    ],
)
def test_what_one_prediction_cannot_do_is_refused(options: list[str], words: str) -> None:
    recipe, _ = parse(["photos", "--name", "mine", *options])
    assert words in str(recipe.problem())


def test_one_prediction_has_settings_of_its_own_on_every_base() -> None:
    for base in ("tiny", "sd15"):
        recipe, _ = parse(["photos", "--name", "mine", "--base", base, "--once"])
        assert (recipe.strength, recipe.judged, recipe.timestep) == (1.0, (1.0,), 200)
        assert recipe.convolutions
