"""What suits a job where its caller was silent."""

from pathlib import Path

import pytest

from shared.bases import SD15, TINY
from shared.defaults import with_defaults
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from shared.params import DEFAULT_PROMPT, DEFAULT_STEPS, DEFAULT_STRENGTH, JobParams
from tests.unit.loras.lora_files import tiny_specs, write_lora


@pytest.fixture
def entry(tmp_path: Path) -> LoraEntry:
    """A LoRA that suggests everything."""
    write_lora(tmp_path / "x.safetensors", tiny_specs())
    suggested = {"strength": 0.6, "prompt": "p", "negative_prompt": "n", "fidelity": "low"}
    return check_file(tmp_path / "x.safetensors").model_copy(update=suggested | {"steps": 1})


def test_a_loras_own_settings_fill_the_gaps(entry: LoraEntry) -> None:
    params = with_defaults(JobParams(), [entry], SD15)
    assert (params.strength, params.prompt, params.negative_prompt) == (0.6, "p", "n")
    assert (params.fidelity, params.guidance_scale) == ("low", 7.5)
    assert (params.steps, params.executed_steps) == (1, 1)


def test_what_the_caller_said_stays(entry: LoraEntry) -> None:
    asked = JobParams(strength=0.1, prompt="", guidance_scale=2.0, fidelity="none", steps=20)
    params = with_defaults(asked, [entry], TINY)
    assert (params.strength, params.prompt, params.guidance_scale) == (0.1, "", 2.0)
    assert (params.fidelity, params.steps) == ("none", 20)


def test_the_base_alone_gives_back_what_its_autoencoder_loses() -> None:
    params = with_defaults(JobParams(), [], TINY)
    assert (params.fidelity, params.strength) == ("residual", DEFAULT_STRENGTH)
    assert (params.prompt, params.guidance_scale) == (DEFAULT_PROMPT, 1.0)


def test_a_lora_that_says_nothing_gets_the_services_defaults(entry: LoraEntry) -> None:
    silent = entry.model_copy(update=dict.fromkeys(("strength", "steps", "prompt", "fidelity")))
    params = with_defaults(JobParams(), [silent], TINY)
    assert (params.fidelity, params.strength) == ("none", DEFAULT_STRENGTH)
    assert params.steps == DEFAULT_STEPS
