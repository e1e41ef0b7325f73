"""Settings that cannot act on a job are said in its result, never dropped silently."""

from pathlib import Path
from typing import Any

import pytest

from shared.jobs import JobState
from shared.loras.entry import LoraEntry
from shared.loras.one_step import recognise_one_step
from shared.messages import LANGUAGES, degraded_message
from shared.params import JobParams
from tests.unit.loras.lora_files import tiny_specs, write_lora
from tests.unit.worker.job.conftest import RunJob, catalog_of
from worker.job.ineffective import ineffective


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LoraEntry:
    from shared.loras.check import check_file

    path = write_lora(tmp_path_factory.mktemp("loras") / "plain_tiny.safetensors", tiny_specs())
    return check_file(path)


@pytest.fixture
def weighed(plain: LoraEntry) -> LoraEntry:
    """A LoRA with the settings of PiSA-SR's file."""
    return plain.model_copy(update={"few_steps": recognise_one_step("pisa_sr", [])})


@pytest.mark.parametrize("name", ["pixel_scale", "semantic_scale"])
@pytest.mark.parametrize("sampler", ["once", "dpmpp_2m", None])
def test_scales_of_parts_that_no_lora_has_are_said_to_have_no_effect(
    plain: LoraEntry, name: str, sampler: Any
) -> None:
    params = JobParams(sampler=sampler, **{name: 0.5})
    for chosen in ((), ((plain, 1.0),)):
        assert ineffective(params, chosen) == ("part_scales_ignored",)
    assert ineffective(JobParams(sampler=sampler), ((plain, 1.0),)) == ()


def test_scales_of_parts_that_a_lora_has_need_the_sampler_once_and_its_prediction(
    plain: LoraEntry, weighed: LoraEntry
) -> None:
    chosen = ((plain, 1.0), (weighed, 1.0))
    asked = JobParams(sampler="once", pixel_scale=0.5, semantic_scale=1.5)
    assert ineffective(asked, chosen) == ()
    assert ineffective(asked.model_copy(update={"sampler": "euler"}), chosen) == (
        "part_scales_ignored",
    )
    other = weighed.model_copy(update={"prediction": "base"})
    assert ineffective(asked, ((other, 1.0),)) == ("part_scales_ignored",)


@pytest.mark.parametrize("sampler", ["euler", None])
def test_a_timestep_without_the_sampler_once_is_said_to_have_no_effect(sampler: Any) -> None:
    assert ineffective(JobParams(sampler=sampler, timestep=200), ()) == ("timestep_ignored",)
    assert ineffective(JobParams(sampler="once", timestep=200), ()) == ()


def test_a_finished_job_says_which_settings_had_no_effect(run: RunJob, tmp_path: Path) -> None:
    job = run(catalog_of(tmp_path), pixel_scale=0.8, timestep=300)
    assert job.state is JobState.SUCCEEDED
    codes = [item.code for item in job.degraded]
    assert codes == ["part_scales_ignored", "timestep_ignored"]
    assert all(degraded_message(code, to) != code for code in codes for to in LANGUAGES)
