"""What suits a job where its caller was silent."""

from pathlib import Path

import pytest

from shared.bases import FLUX, SD15, TINY
from shared.defaults import with_defaults
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from shared.loras.few_steps import FewSteps
from shared.params import DEFAULT_PROMPT, DEFAULT_STEPS, DEFAULT_STRENGTH, JobParams, Sampler
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


LCM = FewSteps(label="LCM", sampler="lcm", guidance_scale=1.0, steps=8)


@pytest.fixture
def silent(entry: LoraEntry) -> LoraEntry:
    """A LoRA without a settings file."""
    return entry.model_copy(update=dict.fromkeys(("strength", "steps", "prompt", "fidelity")))


def test_an_empty_prompt_and_no_guidance_in_a_settings_file_count(silent: LoraEntry) -> None:
    own = silent.model_copy(update={"prompt": "", "guidance_scale": 0.0})
    params = with_defaults(JobParams(), [own], SD15)
    assert (params.prompt, params.guidance_scale) == ("", 0.0)


def test_a_lora_for_few_steps_gets_what_it_needs(silent: LoraEntry) -> None:
    few = silent.model_copy(update={"few_steps": LCM})
    params = with_defaults(JobParams(), [few], SD15)
    assert (params.sampler, params.guidance_scale, params.steps) == ("lcm", 1.0, 8)
    said = "made for lcm, 8 steps, guidance 1."
    assert said in (params.sampler_reason or "")
    assert "LCM" in (params.sampler_reason_zh or "")


def test_the_caller_goes_before_the_settings_file_before_few_steps_before_the_default(
    silent: LoraEntry,
) -> None:
    few = silent.model_copy(update={"few_steps": LCM})
    own = few.model_copy(update={"sampler": "tcd", "guidance_scale": 2.0})
    assert with_defaults(JobParams(), [silent], SD15).sampler == "dpmpp_2m"
    assert with_defaults(JobParams(), [few], SD15).sampler == "lcm"
    by_file = with_defaults(JobParams(), [own], SD15)
    assert (by_file.sampler, by_file.guidance_scale, by_file.steps) == ("tcd", 2.0, 8)
    asked = with_defaults(JobParams(sampler="euler", guidance_scale=7.5), [own], SD15)
    assert (asked.sampler, asked.guidance_scale, asked.steps) == ("euler", 7.5, 8)


def test_loras_that_want_different_samplers_are_told_which_one_it_is(silent: LoraEntry) -> None:
    few = silent.model_copy(update={"few_steps": LCM, "short_name": "quick"})
    style = silent.model_copy(update={"sampler": "euler", "short_name": "style"})
    params = with_defaults(JobParams(), [few, style], SD15)
    reason = params.sampler_reason or ""
    assert params.sampler == "euler"
    assert "'quick' is a LoRA for few steps (LCM), made for lcm" in reason
    assert "'style' says euler" in reason
    assert reason.endswith("The job runs with euler.")
    asked = with_defaults(JobParams(sampler="dpmpp_2m"), [few], SD15)
    assert (asked.sampler_reason or "").endswith("The job runs with dpmpp_2m.")


@pytest.mark.parametrize("sampler", ["lcm", "once"])
def test_a_sampler_on_a_base_with_its_own_is_said_to_have_no_effect(
    silent: LoraEntry, sampler: Sampler
) -> None:
    own = silent.model_copy(update={"sampler": sampler})
    for asked, entries in ((JobParams(sampler=sampler), [silent]), (JobParams(), [own])):
        params = with_defaults(asked, entries, FLUX)
        assert (params.sampler, params.steps, params.executed_steps) == (None, DEFAULT_STEPS, 4)
        assert params.sampler_reason == (
            f"This base has a sampler of its own; {sampler} has no effect."
        )
        assert with_defaults(params, entries, FLUX).sampler_reason is not None


def test_a_second_look_keeps_what_the_first_one_said(silent: LoraEntry) -> None:
    few = silent.model_copy(update={"few_steps": LCM})
    once = with_defaults(JobParams(), [few], SD15)
    assert with_defaults(once, [few], SD15) == once
    plain = with_defaults(JobParams(), [silent], SD15)
    assert plain.sampler_reason is None
    assert with_defaults(plain, [silent], SD15) == plain


def test_a_transformer_has_no_sampler_to_choose(silent: LoraEntry) -> None:
    own = FewSteps(label="Turbo", sampler=None, guidance_scale=None, steps=8)
    few = silent.model_copy(update={"few_steps": own})
    params = with_defaults(JobParams(), [few], FLUX)
    assert (params.sampler, params.guidance_scale, params.steps) == (None, 3.5, 8)
    assert params.sampler_reason is None


def test_a_settings_file_may_ask_for_one_step_restoration(silent: LoraEntry) -> None:
    once = silent.model_copy(update={"sampler": "once", "timestep": 999, "steps": 20})
    params = with_defaults(JobParams(), [once], SD15)
    assert (params.sampler, params.timestep, params.steps) == ("once", 999, 1)
    assert (params.strength, params.guidance_scale, params.fidelity) == (1.0, 1.0, "wavelet")
    asked = with_defaults(JobParams(strength=0.4, guidance_scale=3.0, steps=8), [once], SD15)
    assert (asked.strength, asked.guidance_scale, asked.executed_steps) == (0.4, 3.0, 1)
    usual = with_defaults(JobParams(sampler="euler"), [once], SD15)
    assert (usual.steps, usual.timestep, usual.strength) == (20, None, DEFAULT_STRENGTH)
