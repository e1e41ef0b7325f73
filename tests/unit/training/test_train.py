"""A whole training run on a checkpoint of the real classes, small enough for a test."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from shared.loras.catalog import Catalog
from shared.loras.entry import LoraState
from tests.support.checkpoints import make_sd15
from tests.support.wait import wait_until
from worker.training import checkpoint
from worker.training.adapter import add_adapter, merge_while_training
from worker.training.base.settling import settle_time
from worker.training.errors import (
    Diverged,
    NameTaken,
    NoPhotos,
    OutOfSpace,
    RunChanged,
    TrainingError,
)
from worker.training.frozen_base import FrozenBase, Words, load_frozen
from worker.training.main import parse
from worker.training.recipe import Recipe
from worker.training.train import CHECKPOINT, Places, load_start, lora_path, train

CPU = torch.device("cpu")
Recorded = dict[str, torch.Tensor]


@pytest.fixture
def recipe(small_base: Path) -> Recipe:
    return Recipe(
        name="toy",
        base=str(small_base),
        treats=("noise",),
        rank=4,
        steps=12,
        batch=2,
        crop=32,
        held_out=2,
        report_every=4,
        warmup=2,
        judged_strengths=(),
        bfloat16=False,
    )


@pytest.fixture
def places(photo_folder: Path, tmp_path: Path) -> Places:
    return Places(photo_folder, tmp_path / "loras", tmp_path / "run")


def quiet(_progress: object) -> None:
    """A run that nobody watches."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_hundred_steps_make_held_out_photos_better(
    recipe: Recipe, places: Places, learning_base: Path
) -> None:
    longer = replace(
        recipe,
        base=str(learning_base),
        steps=200,
        learning_rate=5e-3,
        # The first evaluation is of weights that have learnt little.
        report_every=5,
        rank=16,
        warmup=10,
    )
    outcome = train(longer, places, CPU, quiet)
    curve = [float(line.split(",")[1]) for line in (places.run / "curve.csv").read_text().split()]
    assert outcome.gain is not None
    assert outcome.gain > curve[0] + 0.2


@pytest.mark.usefixtures("enough_samples")
def test_a_finished_run_leaves_a_lora_a_sidecar_and_a_report(
    recipe: Recipe, places: Places
) -> None:
    outcome = train(recipe, places, CPU, quiet)

    assert outcome.finished
    assert outcome.lora == places.loras / "toy_tiny.safetensors"
    with safe_open(outcome.lora, framework="pt") as opened:
        metadata = opened.metadata()
        widths = [
            opened.get_slice(key).get_shape()[1]
            for key in opened.keys()  # noqa: SIM118
            if "attn2.to_k.lora_A" in key
        ]
    assert metadata["modelspec.architecture"] == "retouch-tiny/lora"
    assert not any("://" in value for value in metadata.values())
    assert widths
    assert set(widths) == {64}
    sidecar = tomllib.loads(outcome.lora.with_suffix(".toml").read_text("utf-8"))
    assert sidecar["treats"] == ["noise"]
    assert sidecar["fidelity"] == "low"
    assert outcome.report is not None
    assert "| noise | 0.4 | 12 |" in outcome.report.read_text("utf-8")
    assert (places.run / "sheet.png").stat().st_size > 0
    assert [path.name for path in places.loras.iterdir() if path.name.startswith(".")] == []


def test_a_saved_lora_loads_into_the_pipeline_without_any_difference(
    recipe: Recipe, places: Places
) -> None:
    # Given a trained LoRA, and the UNet with its half precision weights set by hand
    outcome = train(recipe, places, CPU, quiet)
    assert outcome.lora is not None
    by_hand = adapted_unet(recipe)
    load_start(by_hand, outcome.lora)

    # When the pipeline loads the file its own way
    loaded = load_frozen(recipe.base, CPU, bfloat16=False)
    plain = picture(loaded.unet)
    loaded.pipeline.load_lora_weights(outcome.lora.parent, weight_name=outcome.lora.name)

    assert torch.equal(picture(loaded.unet), picture(by_hand))
    assert not torch.equal(picture(loaded.unet), plain)


def test_a_lora_in_the_weight_answers_as_one_beside_it(recipe: Recipe, places: Places) -> None:
    outcome = train(recipe, places, CPU, quiet)
    assert outcome.lora is not None
    beside, merged = adapted_unet(recipe), adapted_unet(recipe)
    for unet in (beside, merged):
        load_start(unet, outcome.lora)
    merge_while_training(merged)
    torch.testing.assert_close(picture(merged), picture(beside), atol=1e-4, rtol=1e-4)


def test_a_lora_goes_on_in_a_higher_rank_from_the_same_answer(
    recipe: Recipe, places: Places, tmp_path: Path
) -> None:
    outcome = train(recipe, places, CPU, quiet)
    assert outcome.lora is not None
    narrow, wide = adapted_unet(recipe), adapted_unet(replace(recipe, rank=8))
    load_start(narrow, outcome.lora)
    load_start(wide, outcome.lora)
    torch.testing.assert_close(picture(wide), picture(narrow))

    wider = replace(recipe, name="wide", rank=8)
    larger = train(wider, replace(places, run=tmp_path / "wide"), CPU, quiet)
    assert larger.lora is not None
    with pytest.raises(TrainingError, match="larger"):
        load_start(narrow, larger.lora)


@pytest.fixture
def graded(recipe: Recipe) -> Recipe:
    return replace(recipe, graded=True, adversarial=0.1, sampler_steps=1, judged_strengths=(1.0,))


def test_a_graded_lora_sees_the_strength_on_a_base_that_does_not(
    graded: Recipe, places: Places, tmp_path: Path
) -> None:
    # Given a base that was settled on one noise level, so that all timesteps are one to it
    base = load_frozen(graded.base, CPU, bfloat16=False)
    settle_time(base.unet, 100)
    base.pipeline.save_pretrained(tmp_path / "settled")
    settled = replace(graded, base=str(tmp_path / "settled"), learning_rate=0.02)
    assert torch.equal(picture(base.unet, 50), picture(base.unet, 900))

    outcome = train(settled, places, CPU, quiet)

    assert outcome.lora is not None
    base.pipeline.load_lora_weights(outcome.lora.parent, weight_name=outcome.lora.name)
    near, far = ((picture(base.unet, 500) - picture(base.unet, t)).abs().mean() for t in (510, 999))
    assert 0 < 5 * near < far
    sidecar = tomllib.loads(outcome.lora.with_suffix(".toml").read_text("utf-8"))
    assert sidecar["steps"] == 1


def test_a_run_with_an_adversary_goes_on_to_the_same_weights(
    graded: Recipe, places: Places, tmp_path: Path
) -> None:
    goes_on_to_the_same_weights(graded, places, tmp_path)


def adapted_unet(recipe: Recipe) -> Any:
    base = load_frozen(recipe.base, CPU, bfloat16=False)
    add_adapter(base.unet, recipe.rank, recipe.convolutions)
    return base.unet


def picture(unet: UNet2DConditionModel, timestep: int = 300) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 12, 16, 16, generator=generator) * 50
    words = torch.randn(1, 4, 64, generator=generator)
    with torch.no_grad():
        answer: torch.Tensor = unet(latents, timestep, words).sample
    return answer


def test_a_stopped_run_goes_on_to_the_same_weights(
    recipe: Recipe, places: Places, tmp_path: Path
) -> None:
    goes_on_to_the_same_weights(recipe, places, tmp_path)


def goes_on_to_the_same_weights(recipe: Recipe, places: Places, tmp_path: Path) -> None:
    whole = weights(train(recipe, places, CPU, quiet).lora)
    halves = replace(places, loras=tmp_path / "other", run=tmp_path / "other-run")

    def stop_at_seven(progress: object) -> None:
        if getattr(progress, "step", 0) == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    first = train(recipe, halves, CPU, stop_at_seven)
    second = train(recipe, halves, CPU, quiet)

    assert not first.finished
    assert first.step == 7
    assert second.finished
    resumed = weights(second.lora)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def weights(path: Path | None) -> Recorded:
    assert path is not None
    return load_file(path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_from_its_last_checkpoint(recipe: Recipe, places: Places) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "worker.training", str(places.photos)]
    options = {
        "name": "toy",
        "base": recipe.base,
        "rank": 4,
        "steps": 60,
        "batch": 2,
        "crop": 32,
        "held-out": 2,
        "report-every": 4,
        "loras": places.loras,
        "run": places.run,
        "device": "cpu",
        "threads": 1,
    }
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    command += ["--treats", "noise"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: (places.run / CHECKPOINT).exists(), seconds=120, description="a checkpoint")
    running.kill()
    running.wait()

    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert (places.loras / "toy_tiny.safetensors").exists()


def test_an_empty_folder_is_refused(recipe: Recipe, places: Places, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoPhotos, match="holds 0 usable photos"):
        train(recipe, replace(places, photos=tmp_path / "empty"), CPU, quiet)


def test_a_name_that_exists_is_refused_and_its_file_kept(recipe: Recipe, places: Places) -> None:
    target = lora_path(recipe, places)
    target.parent.mkdir(parents=True)
    target.write_bytes(b"somebody's work")
    with pytest.raises(NameTaken, match="toy_tiny"):
        train(recipe, places, CPU, quiet)
    assert target.read_bytes() == b"somebody's work"


def test_other_settings_do_not_continue_a_run(recipe: Recipe, places: Places) -> None:
    def stop(progress: object) -> None:
        if getattr(progress, "step", 0) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    train(recipe, places, CPU, stop)
    with pytest.raises(RunChanged, match="other settings"):
        train(replace(recipe, learning_rate=1e-4), places, CPU, quiet)


def test_a_full_disk_keeps_the_last_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save_checkpoint(path, {"step": 1})

    def full(_state: object, where: Path) -> None:
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OutOfSpace, match="Free some space"):
        checkpoint.save_checkpoint(path, {"step": 2})

    assert checkpoint.load_checkpoint(path) == {"step": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crop": 40}, "multiple of 16"),
        ({"treats": ()}, "at least one kind"),
        ({"treats": ("rain",)}, "unknown"),
        ({"rank": 0}, "rank must be 1 or more"),
        ({"learning_rate": 0.0}, "learning rate must be"),
        ({"learning_rate": float("nan")}, "learning rate must be"),
        ({"constant_share": 1.0}, "constant share must be"),
        ({"weight_decay": -0.1}, "weight decay must be"),
        ({"strength": 1.5}, "strength must be"),
        ({"held_out": -1}, "held out must be"),
        ({"name": "../elsewhere"}, "no LoRA can be called so"),
        ({"name": "a/folder"}, "no LoRA can be called so"),
        ({"name": "n" * 125}, "no LoRA can be called so"),
    ],
)
def test_bad_numbers_are_refused_in_words(
    recipe: Recipe, places: Places, change: dict[str, object], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        train(replace(recipe, **change), places, CPU, quiet)  # type: ignore[arg-type]


def test_a_name_may_be_any_that_a_lora_may_have(recipe: Recipe, places: Places) -> None:
    named = replace(recipe, name="修复 v1.5")

    assert named.problem() is None
    assert lora_path(named, places).name == "修复 v1.5_tiny.safetensors"


def test_a_base_that_cannot_be_loaded_is_named(recipe: Recipe, places: Places) -> None:
    with pytest.raises(TrainingError, match="nowhere"):
        train(replace(recipe, base=str(places.run / "nowhere")), places, CPU, quiet)


def test_a_full_disk_at_the_very_end_is_a_sentence_and_the_run_goes_on(
    recipe: Recipe, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("worker.training.adapter.save_file", full)
        with pytest.raises(OutOfSpace, match="toy_tiny"):
            train(recipe, places, CPU, quiet)
    assert not lora_path(recipe, places).exists()

    assert train(recipe, places, CPU, quiet).lora == lora_path(recipe, places)


def test_a_loss_that_is_no_number_ends_the_run_and_writes_no_lora(
    recipe: Recipe, places: Places
) -> None:
    reckless = replace(recipe, learning_rate=1e30, warmup=1)
    with pytest.raises(Diverged, match="smaller --learning-rate"):
        train(reckless, places, CPU, quiet)
    assert not lora_path(recipe, places).exists()


def test_captions_are_what_a_style_is_learnt_with(
    recipe: Recipe, places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given photos of which one has a caption, in an encoding of its own
    shutil.copytree(places.photos, tmp_path / "captioned")
    (tmp_path / "captioned" / "photo3.txt").write_bytes("une fenêtre".encode("latin-1"))
    asked: set[str] = set()
    embed = FrozenBase.embed

    def noting(base: FrozenBase, prompts: list[str]) -> Words:
        asked.update(prompts)
        return embed(base, prompts)

    monkeypatch.setattr(FrozenBase, "embed", noting)
    styled = replace(recipe, task="style", steps=20, prompts=("old photo",))

    train(styled, replace(places, photos=tmp_path / "captioned"), CPU, quiet)

    assert asked == {"old photo", "une fen\ufffdtre"}


def test_the_settings_of_a_small_card_train_a_lora_for_sd15(places: Places, tmp_path: Path) -> None:
    # Given the options of a person with SD 1.5, but for crops as small as these photos
    checkpoint_folder = make_sd15(tmp_path / "sd15")
    recipe, _ = parse(
        f"{places.photos} --name=small_card --base={checkpoint_folder} --crop=64 --steps=3 "
        "--report-every=3 --held-out=1 --treats noise".split()
    )

    outcome = train(recipe, places, CPU, quiet)

    assert (recipe.batch, recipe.objective, recipe.gradient_checkpointing) == (1, "path", True)
    assert outcome.lora is not None
    assert outcome.lora.name == "small_card_sd15.safetensors"
    assert all("attn" in key for key in weights(outcome.lora))
    catalog = Catalog(places.loras, "sd15")
    catalog.scan()
    assert [entry.state for entry in catalog.entries()] == [LoraState.AVAILABLE]


def test_a_style_is_learnt_from_captions(recipe: Recipe, places: Places) -> None:
    styled = replace(recipe, task="style", steps=4, prompts=("old photo",))
    outcome = train(styled, places, CPU, quiet)
    assert outcome.finished
    assert outcome.gain is None
    assert outcome.lora is not None
    assert tomllib.loads(outcome.lora.with_suffix(".toml").read_text())["prompt"] == "old photo"
    # Its pictures can be looked at, although nothing is compared with them.
    assert [path.name for path in (places.run / "samples").iterdir()] == ["000004.png"]


@pytest.mark.parametrize("compare_pixels", [False, True])
def test_the_settings_of_large_bases_train_too(
    recipe: Recipe, places: Places, compare_pixels: bool
) -> None:
    large = replace(
        recipe,
        objective="path",
        convolutions=False,
        gradient_checkpointing=True,
        compare_pixels=compare_pixels,
        steps=4,
    )
    trained = weights(train(large, places, CPU, quiet).lora)
    moved = [np.abs(v.numpy()).max() for key, v in trained.items() if "lora_B" in key]
    assert max(moved) > 0
