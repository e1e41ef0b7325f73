"""The command line of the trainer: options, defaults per base, words at the end."""

from pathlib import Path

import pytest

from worker.training.main import main, parse, words
from worker.training.recipe import Recipe
from worker.training.train import Outcome

ROOT = Path(__file__).parents[3]


def test_the_embedded_base_learns_on_the_samplers_states() -> None:
    recipe, places = parse(["photos", "--name", "mine", "--treats", "noise", "jpeg"])
    assert recipe.base == str(Path("models") / "tiny")
    assert recipe.objective == "rollout"
    assert recipe.convolutions
    assert (recipe.strength, recipe.judged_strengths) == (0.1, (0.4,))
    assert recipe.treats == ("noise", "jpeg")
    assert places.run == Path("var") / "training" / "mine"


def test_a_folder_of_the_embedded_bases_kind_gets_the_embedded_bases_settings() -> None:
    folder = str(ROOT / "models" / "tiny")
    named, _ = parse(["photos", "--name", "mine", "--base", folder])
    embedded, _ = parse(["photos", "--name", "mine", "--models", str(ROOT / "models")])
    assert named == embedded


def test_sd15_gets_the_settings_of_a_card_of_eight_gigabytes() -> None:
    recipe, _ = parse(["photos", "--name", "mine", "--base", "sd15", "--rank", "8"])
    assert recipe.base.startswith("stable-diffusion-v1-5/")
    assert (recipe.batch, recipe.crop, recipe.objective) == (1, 512, "path")
    assert recipe.gradient_checkpointing
    assert not recipe.convolutions
    assert recipe.rank == 8
    assert recipe.strength == 0.4


def test_a_refusal_is_one_sentence_and_status_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main([str(tmp_path), "--name", "mine", "--loras", str(tmp_path / "loras")])
    assert status == 1
    assert "holds 0 usable photos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--structure", "-1", "structure must be 0 or more"),
        ("--edges", "nan", "edges must be 0 or more"),
        ("--detail", "inf", "detail must be 0 or more"),
        ("--adversarial", "-0.1", "adversarial must be 0 or more"),
        ("--weight-decay", "nan", "weight decay must be 0 or more"),
        ("--whole-share", "2", "whole share must be between 0 and 1"),
        ("--other-settings-share", "nan", "other settings share must be between 0 and 1"),
    ],
)
def test_numbers_that_no_run_can_have_are_refused_by_name(
    option: str, value: str, told: str
) -> None:
    recipe, _ = parse(["photos", "--name", "mine", f"{option}={value}"])
    assert recipe.problem() == told


def test_the_end_tells_what_was_skipped_gained_and_written() -> None:
    recipe = Recipe(name="mine", base="tiny")
    done = Outcome(True, 2000, 1.234, Path("l"), Path("r"), {"torn.png": "cannot be read"})
    told = words(done, recipe)
    assert "skipped torn.png: cannot be read" in told
    assert "+1.23 dB" in told


def test_a_stopped_run_tells_how_to_go_on() -> None:
    told = words(Outcome(False, 7, None, None, None, {}), Recipe(name="mine", base="tiny"))
    assert told == "stopped at step 7 of 2000; the same command continues"


@pytest.mark.parametrize("name", ["restore", "portrait v2", "人像", "soft.light"])
def test_a_lora_may_be_called_what_the_catalogue_takes(name: str) -> None:
    recipe, _ = parse(["photos", "--name", name])
    assert recipe.problem() is None


@pytest.mark.parametrize("name", ["", " ", ".hidden", "a:b", "folder/name", "a" * 125, "a\nb"])
def test_a_name_that_the_catalogue_would_not_take_is_refused(name: str) -> None:
    recipe, _ = parse(["photos", "--name", name])
    assert "name is" in str(recipe.problem())
