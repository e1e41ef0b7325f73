"""Several bases in one fleet: which one a job goes to, and what callers are told about them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient
from httpx2 import Response

from shared.base_defaults import BaseDefaults
from shared.ledger.fleet import Fleet, WorkerInfo, now
from shared.ledger.store import JobStore
from tests.support.fleet import claim
from tests.support.pictures import photo
from tests.support.wait import wait_until
from tests.unit.api.conftest import Gateway
from tests.unit.loras.lora_files import sd15_specs, sdxl_specs, tiny_specs, write_lora

Announce = Callable[..., WorkerInfo]


@pytest.fixture
def loras_dir(tmp_path: Path) -> Path:
    """One LoRA of each of three families, of which two have the same short name."""
    folder = tmp_path / "loras"
    folder.mkdir()
    write_lora(folder / "face_restore_tiny.safetensors", tiny_specs())
    write_lora(folder / "face_restore_v1.5.safetensors", sd15_specs())
    write_lora(folder / "product_lighting_sdxl.safetensors", sdxl_specs())
    write_lora(folder / "skin_v1.5.safetensors", sd15_specs())
    return folder


@pytest.fixture
def announce(redis_client: redis.Redis) -> Announce:
    """A worker of this base joins, as the gateway sees it."""
    fleet = Fleet(redis_client)

    def join(base: str, host: str = "host-1", **facts: object) -> WorkerInfo:
        known: dict[str, object] = {
            "id": f"{host}-{base}",
            "host": host,
            "pid": 1,
            "device": "cpu",
            "base": base,
            "profile": "full",
            "last_heartbeat_at": now(),
        }
        info = WorkerInfo.model_validate(known | facts)
        fleet.announce(info)
        return info

    return join


@pytest.fixture
def client(gateway: Gateway, loras_dir: Path) -> TestClient:
    """A gateway whose own base is the embedded one."""
    return gateway(loras_dir=loras_dir)


def send(client: TestClient, **fields: str) -> Response:
    return client.post("/v1/jobs", files={"image": photo()}, data=fields)


def base_of(client: TestClient, **fields: str) -> str:
    answer = send(client, **fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["base"])


def states(client: TestClient) -> dict[str, tuple[str, list[str]]]:
    items = client.get("/v1/loras").json()["items"]
    return {item["name"]: (item["state"], item["served_by"]) for item in items}


def wait_for_available(client: TestClient, name: str) -> None:
    wait_until(
        lambda: states(client)[name][0] == "available",
        description=f"{name} to be available",
        seconds=5,
    )


def test_a_loras_family_decides_which_base_a_job_goes_to(
    client: TestClient, announce: Announce, store: JobStore
) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")
    announce("sdxl/juggernaut")
    wait_for_available(client, "product_lighting_sdxl")

    assert base_of(client, lora="none") == "tiny"
    assert base_of(client, lora="product_lighting") == "sdxl/juggernaut"
    assert base_of(client, lora="skin") == "sd15/dreamshaper-8"
    # Of two with one short name, the default's own.
    assert base_of(client, lora="face_restore") == "tiny"
    assert base_of(client, lora="face_restore_v1.5") == "sd15/dreamshaper-8"
    assert base_of(client, lora="face_restore", base="sd15") == "sd15/dreamshaper-8"
    assert store.queues() == ["sd15/dreamshaper-8", "sdxl/juggernaut", "tiny"]


def test_two_checkpoints_of_one_family_never_share_a_queue(
    client: TestClient, announce: Announce, store: JobStore
) -> None:
    announce("sd15/dreamshaper-8")
    announce("sd15/realistic-vision")
    wait_for_available(client, "skin_v1.5")

    assert base_of(client, lora="skin", base="realistic-vision") == "sd15/realistic-vision"
    assert base_of(client, lora="skin", base="SD15/DreamShaper-8") == "sd15/dreamshaper-8"

    assert claim(store, "sd15/dreamshaper-8").spec.base == "sd15/dreamshaper-8"
    assert store.claim("sd15/dreamshaper-8", "host-1") is None
    assert claim(store, "sd15/realistic-vision").spec.base == "sd15/realistic-vision"


def test_a_base_that_is_not_served_is_refused_with_those_that_are(
    client: TestClient, announce: Announce
) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")

    refused = send(client, base="sdxl")

    assert refused.status_code == 422
    [problem] = refused.json()["errors"]
    assert problem["pointer"] == "/base"
    assert "sd15/dreamshaper-8" in problem["detail"]
    assert "tiny" in problem["detail"]


def test_a_lora_for_a_base_that_nobody_serves_is_refused_with_the_bases_that_are_served(
    client: TestClient, announce: Announce
) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")
    wait_for_available(client, "skin_v1.5")

    refused = send(client, lora="product_lighting")

    assert refused.status_code == 400
    assert refused.json()["code"] == "lora_base_mismatch"
    assert "SDXL" in refused.json()["detail"]
    assert "SD 1.5" in refused.json()["detail"]
    assert "retouch tiny" in refused.json()["detail"]


def test_loras_of_two_families_in_one_job_are_refused_in_both_languages(
    client: TestClient, announce: Announce
) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")
    wait_for_available(client, "skin_v1.5")
    data = {"lora": ["face_restore_tiny", "skin"]}

    refused = client.post("/v1/jobs", files={"image": photo()}, data=data)
    chinese = client.post(
        "/v1/jobs", files={"image": photo()}, data=data, headers={"Accept-Language": "zh"}
    )

    assert refused.status_code == 400
    assert "must fit one base" in refused.json()["detail"]
    assert "同一个基础模型" in chinese.json()["detail"]


def test_a_worker_that_joins_or_leaves_changes_the_loras_within_seconds(
    client: TestClient, announce: Announce, redis_client: redis.Redis
) -> None:
    announce("tiny")
    assert states(client)["product_lighting_sdxl"] == ("incompatible", [])

    joined = announce("sdxl/juggernaut")
    wait_for_available(client, "product_lighting_sdxl")
    assert states(client)["product_lighting_sdxl"][1] == ["sdxl/juggernaut"]

    Fleet(redis_client).withdraw(joined.id)
    wait_until(
        lambda: states(client)["product_lighting_sdxl"] == ("incompatible", []),
        description="the LoRA to be incompatible again",
        seconds=5,
    )


def test_a_prompt_that_names_a_lora_of_another_base_goes_there(
    client: TestClient, announce: Announce
) -> None:
    announce("tiny")
    announce("sdxl/juggernaut")
    wait_for_available(client, "product_lighting_sdxl")

    answer = send(client, prompt="a shoe <lora:product_lighting:0.7>")

    assert answer.json()["base"] == "sdxl/juggernaut"
    assert answer.json()["params"]["loras"][0]["name"] == "product_lighting_sdxl"


def test_automatic_choice_goes_where_a_lora_treats_damage(
    client: TestClient, announce: Announce, loras_dir: Path
) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")
    wait_for_available(client, "skin_v1.5")
    assert base_of(client) == "tiny"

    (loras_dir / "skin_v1.5.toml").write_text('treats = ["noise"]')
    wait_until(
        lambda: client.get("/v1/loras/skin_v1.5").json()["treats"],
        description="the settings file to be read",
    )

    assert base_of(client) == "sd15/dreamshaper-8"


def test_capabilities_list_the_bases_and_what_suits_them(
    client: TestClient, announce: Announce
) -> None:
    few = BaseDefaults(steps=4, guidance_scale=0.0, sampler="euler", complaints=("x.toml: y",))
    announce("sd21/sd-turbo", base_defaults=few)
    announce("tiny")
    announce("tiny", host="host-2")

    told = client.get("/v1/capabilities").json()

    assert told["base"]["id"] == "tiny"
    assert [(one["id"], one["family"], one["workers"]) for one in told["bases"]] == [
        ("tiny", "tiny", 2),
        ("sd21/sd-turbo", "sd21", 1),
    ]
    turbo = told["bases"][1]
    assert (turbo["steps"], turbo["guidance_scale"], turbo["sampler"]) == (4, 0.0, "euler")
    assert turbo["complaints"] == ["x.toml: y"]


def test_a_bases_own_settings_are_the_defaults_of_its_jobs(
    client: TestClient, announce: Announce
) -> None:
    few = BaseDefaults(steps=4, guidance_scale=0.0, sampler="euler", strength=0.5, prompt="")
    announce("sd21/sd-turbo", base_defaults=few)

    params = send(client, lora="none").json()["params"]
    own = send(client, lora="none", steps="9", prompt="a cat").json()["params"]

    assert (params["steps"], params["guidance_scale"], params["sampler"]) == (4, 0.0, "euler")
    assert (params["strength"], params["prompt"]) == (0.5, "")
    assert (own["steps"], own["prompt"], own["sampler"]) == (9, "a cat", "euler")


def test_jobs_of_a_base_that_nobody_serves_are_shown(
    client: TestClient, announce: Announce, redis_client: redis.Redis, store: JobStore
) -> None:
    gone = announce("sdxl/juggernaut")
    wait_for_available(client, "product_lighting_sdxl")
    job = send(client, lora="product_lighting").json()
    assert job["progress"]["message"] == "Waiting for its turn"

    Fleet(redis_client).withdraw(gone.id)
    redis_client.delete("base:sdxl/juggernaut")
    announce("tiny")

    message = client.get(job["links"]["self"]).json()["progress"]["message"]
    assert message == "Waiting: no worker serves sdxl/juggernaut now"
    [listed] = store.jobs_of(store.get(job["id"]).spec.client, None, 10)
    assert not listed.is_served
    ready = wait_until(
        lambda: client.get("/readyz").json().get("unserved"), description="the job to be shown"
    )
    assert ready == {"sdxl/juggernaut": 1}
    assert 'retouch_jobs_unserved{base="sdxl/juggernaut"} 1.0' in client.get("/metrics").text


def test_while_no_worker_lives_jobs_wait_for_the_deployments_own_base(client: TestClient) -> None:
    answer = send(client, lora="face_restore")

    assert answer.json()["base"] == "tiny"
    assert answer.json()["progress"]["message"] == "Waiting: no worker serves tiny now"
    assert client.get("/readyz").json()["unserved"] == {"tiny": 1}


def test_an_expected_base_takes_jobs_while_it_has_no_worker(
    gateway: Gateway, announce: Announce, loras_dir: Path
) -> None:
    client = gateway(loras_dir=loras_dir, bases="sdxl/juggernaut")
    announce("tiny")
    wait_for_available(client, "product_lighting_sdxl")

    job = send(client, lora="product_lighting").json()

    assert job["base"] == "sdxl/juggernaut"
    assert job["progress"]["message"] == "Waiting: no worker serves sdxl/juggernaut now"
    assert base_of(client, lora="none") == "tiny"
    served = {one["id"]: one["served"] for one in client.get("/v1/capabilities").json()["bases"]}
    assert served == {"tiny": True, "sdxl/juggernaut": False}


def test_other_programs_see_every_base_as_a_model(client: TestClient, announce: Announce) -> None:
    announce("tiny")
    announce("sd15/dreamshaper-8")

    models = client.get("/v1/models").json()["data"]
    checkpoints = client.get("/sdapi/v1/sd-models").json()

    assert [model["id"] for model in models][:3] == ["retouch", "tiny", "sd15/dreamshaper-8"]
    assert [one["model_name"] for one in checkpoints] == ["tiny", "sd15/dreamshaper-8"]
