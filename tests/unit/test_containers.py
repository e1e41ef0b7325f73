"""What the compose file promises of its containers, read as Compose reads it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("api", "worker", "flower")


@pytest.mark.parametrize("name", OURS)
def test_ours_are_read_only_and_may_do_nothing_special(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "pid", "network_mode", "ipc", "userns_mode"} & set(service)


def test_the_store_may_only_step_down_and_is_published_nowhere() -> None:
    store = SERVICES["redis"]
    assert store["cap_drop"] == ["ALL"]
    assert set(store["cap_add"]) == {"CHOWN", "SETGID", "SETUID"}
    assert "no-new-privileges:true" in store["security_opt"]
    assert not {"ports", "expose", "network_mode", "privileged"} & set(store)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_published_is_published_on_this_machine_alone(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_loras_are_read_only_and_nothing_of_the_host_is_in_reach(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target, *mode = volume.split(":")
        if target in ("/loras", "/upscalers"):
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_env_reaches_a_container_unless_compose_decides_it(name: str) -> None:
    settings = {f"RETOUCH_{field.upper()}" for field in Settings.model_fields}
    # Inside, each listens where the published port leads.
    inside = {"RETOUCH_HOST", "RETOUCH_PORT", "RETOUCH_FLOWER_HOST", "RETOUCH_FLOWER_PORT"}

    environment = SERVICES[name]["environment"]

    assert settings - set(environment) <= inside
    assert {key for key in environment if key.startswith("RETOUCH_")} <= settings


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_fills_the_disk_with_its_log_or_takes_the_hosts_memory(name: str) -> None:
    assert SERVICES[name]["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert "mem_limit" in SERVICES[name]


def test_a_busy_machine_has_time_to_ask_a_worker_whether_it_is_alive() -> None:
    """Beside eight other jobs on two cores, the question took ten seconds."""
    check = SERVICES["worker"]["healthcheck"]
    assert int(check["timeout"].removesuffix("s")) >= 20
    assert int(check["interval"].removesuffix("s")) >= 30


@pytest.mark.parametrize("name", OURS)
def test_an_image_is_named_by_its_tag(name: str) -> None:
    assert SERVICES[name]["image"].endswith(":${IMAGE_TAG:-latest}")


def test_flower_runs_when_it_is_asked_for_and_has_a_password_of_its_own() -> None:
    assert SERVICES["flower"]["profiles"] == ["monitor"]
    assert "RETOUCH_FLOWER_AUTH" in SERVICES["flower"]["environment"]


def test_images_end_as_a_user_that_is_not_root() -> None:
    stages: dict[str, list[str]] = {}
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        words = line.split()
        if words[:1] == ["FROM"]:
            stages[words[-1]] = []
        elif words[:1] == ["USER"]:
            stages[list(stages)[-1]].append(words[1])
    images = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert images == {"api", "worker", "monitor"}
    assert {stages[image][-1] for image in images} == {"retouch"}


def test_the_page_s_super_resolution_is_made_of_what_its_stage_has(tmp_path: Path) -> None:
    """The build goes on without it when this fails, so that only its absence would tell."""
    stage = (REPOSITORY / "Dockerfile").read_text().partition("AS extras\n")[2]
    copied = [line for line in stage.partition("\nFROM")[0].splitlines() if line.startswith("COPY")]
    for line in copied:
        _, *sources, target = line.split()
        for name in sources:
            _copy(REPOSITORY / name, tmp_path / target)

    done = subprocess.run(
        [sys.executable, "-m", "api.extras"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "npm has not installed" in done.stderr


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


PIPE = ("background.py", "making.py")


def test_no_model_brings_code_along() -> None:
    """`use_safetensors` keeps pickles out; a custom pipeline or remote code would be code.

    A worker and the process that compiles for it hand each other blocks through a pipe of their
    own, which nobody else can write to.
    """
    own_pipe = {REPOSITORY / "worker/engine/compiled" / name for name in PIPE}
    code = {path: path.read_text() for path in (REPOSITORY / "worker").rglob("*.py")}
    loading = [text for text in code.values() if ".from_pretrained(" in text]
    assert loading
    for path, text in code.items():
        for word in ("trust_remote_code", "custom_pipeline", "import pickle"):
            is_allowed = word == "import pickle" and path in own_pipe
            assert word not in text or is_allowed, path
        assert text.count("torch.load(") == text.count("weights_only=True"), path


def with_tls() -> dict[str, Any]:
    """What compose.tls.yml adds."""
    added: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.tls.yml").read_text())
    return added


def test_the_proxy_may_bind_its_ports_and_nothing_else() -> None:
    proxy = with_tls()["services"]["caddy"]
    assert proxy["read_only"] is True
    assert (proxy["cap_drop"], proxy["cap_add"]) == (["ALL"], ["NET_BIND_SERVICE"])
    assert "no-new-privileges:true" in proxy["security_opt"]
    assert proxy["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert "mem_limit" in proxy
    assert proxy["volumes"] == ["certificates:/data"]


def test_a_public_service_needs_keys_and_believes_its_proxy_alone() -> None:
    services = with_tls()["services"]
    settings = services["api"]["environment"]
    assert settings["RETOUCH_ALLOW_ANONYMOUS"] == "${RETOUCH_ALLOW_ANONYMOUS:-0}"
    proxy = services["caddy"]["networks"]["default"]["ipv4_address"]
    assert settings["RETOUCH_TRUSTED_PROXIES"] == proxy
