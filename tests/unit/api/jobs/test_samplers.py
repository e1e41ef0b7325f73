"""A job's sampler on the wire: asked for, suggested by a LoRA, or refused in words."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from shared.jobs import SAMPLERS_SINCE
from shared.ledger.store import JobStore
from tests.unit.api.conftest import Gateway
from tests.unit.api.sending import submit
from tests.unit.loras.lora_files import tiny_specs, write_lora


@pytest.fixture
def client(gateway: Gateway, tmp_path: Path) -> TestClient:
    """A gateway with a LoRA for few steps, one with a settings file, and a plain one."""
    for name in ("plain", "lcm-lora", "own"):
        write_lora(tmp_path / f"{name}_tiny.safetensors", tiny_specs())
    toml = 'sampler = "tcd"\nguidance_scale = 2\nprompt = ""\nsteps = 6\ncolour = "blue"\n'
    (tmp_path / "own_tiny.toml").write_text(toml)
    return gateway(loras_dir=tmp_path, allow_anonymous=True)


def shown(client: TestClient, lora: str, **fields: str) -> dict[str, object]:
    job = submit(client, lora=lora, **fields).json()
    params: dict[str, object] = client.get(job["links"]["self"]).json()["params"]
    return params


def test_a_job_shows_the_sampler_that_it_runs_with(client: TestClient) -> None:
    assert shown(client, "plain")["sampler"] == "dpmpp_2m"
    assert shown(client, "plain")["sampler_reason"] is None
    for sampler in ("dpmpp_2m", "euler", "lcm", "tcd", "once"):
        assert shown(client, "none", sampler=sampler)["sampler"] == sampler


def test_a_settings_file_and_a_lora_for_few_steps_fill_what_was_left_open(
    client: TestClient,
) -> None:
    few, own = shown(client, "lcm-lora"), shown(client, "own")
    assert (few["sampler"], few["guidance_scale"], few["steps"]) == ("lcm", 1.0, 8)
    assert "for few steps (LCM)" in str(few["sampler_reason"])
    assert (own["sampler"], own["guidance_scale"], own["steps"]) == ("tcd", 2.0, 6)
    assert own["prompt"] == ""
    asked = shown(client, "lcm-lora", sampler="euler", guidance_scale="7.5", steps="20")
    assert (asked["sampler"], asked["guidance_scale"], asked["steps"]) == ("euler", 7.5, 20)
    assert str(asked["sampler_reason"]).endswith("The job runs with euler.")


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"sampler": "ddim"}, "/sampler", "'dpmpp_2m', 'euler', 'lcm', 'tcd' or 'once'"),
        ({"sampler": "once", "steps": "4"}, "/steps", "must be 1"),
        ({"sampler": "once", "timestep": "0"}, "/timestep", "at least 1"),
        ({"sampler": "once", "pixel_scale": "-1"}, "/pixel_scale", "at least 0"),
        ({"sampler": "once", "semantic_scale": "2.5"}, "/semantic_scale", "at most 2"),
    ],
)
def test_what_no_sampler_can_do_is_refused_in_words(
    client: TestClient, fields: dict[str, str], place: str, words: str
) -> None:
    response = submit(client, lora="none", **fields)
    assert response.status_code == 422
    (problem,) = response.json()["errors"]
    assert problem["pointer"] == place
    assert words in problem["detail"]


def test_one_step_restoration_comes_with_what_such_models_need(client: TestClient) -> None:
    params = shown(client, "plain", sampler="once")
    assert (params["steps"], params["executed_steps"], params["timestep"]) == (1, 1, 200)
    assert (params["strength"], params["fidelity"]) == (1.0, "wavelet")
    asked = shown(client, "plain", sampler="once", timestep="999", strength="0.3")
    assert (asked["timestep"], asked["strength"]) == (999, 0.3)
    parts = shown(client, "plain", sampler="once", pixel_scale="0.8", semantic_scale="1.2")
    assert (parts["pixel_scale"], parts["semantic_scale"]) == (0.8, 1.2)


def test_the_catalogue_shows_what_each_lora_needs(client: TestClient) -> None:
    items = {item["short_name"]: item for item in client.get("/v1/loras").json()["items"]}
    names = ("few_steps", "sampler", "guidance_scale", "steps")
    settings = {name: tuple(item[key] for key in names) for name, item in items.items()}
    assert settings == {
        "plain": (None, None, None, None),
        "lcm-lora": ("LCM", "lcm", 1.0, 8),
        "own": (None, "tcd", 2.0, 6),
    }
    assert items["own"]["complaints"] == ["own_tiny.toml: colour: is not a setting of a LoRA"]


def test_a_worker_that_knows_no_samplers_leaves_such_jobs_to_others(
    client: TestClient, store: JobStore
) -> None:
    usual = submit(client, lora="plain").json()["id"]
    other = submit(client, lora="lcm-lora").json()["id"]
    assert store.get(usual).spec.needs == 1
    assert store.get(other).spec.needs == SAMPLERS_SINCE
