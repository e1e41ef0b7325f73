"""What `retouch doctor` finds, look by look."""

import json
import socket
import sys
from pathlib import Path

import pytest

from retouch.diagnosis import machine, models, software
from retouch.stack.ports import free_port
from shared.settings import Settings
from tests.support.object_stores import lead_to
from tests.unit.client.scripted_server import ScriptedServer, as_json


def settings(**values: object) -> Settings:
    return Settings(**({"_env_file": None} | values))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "URL", "BASE_MODEL", "LORAS_DIR", "DATA_DIR", "DEVICE", "PORT"):
        monkeypatch.delenv(f"RETOUCH_{name}", raising=False)


def test_this_environment_has_every_package() -> None:
    assert software.packages(settings()).state == "ok"


def test_a_missing_package_is_named_together_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(software, "WORKER_PACKAGES", ("torch", "no-such-package"))
    found = software.torch(settings())
    assert (found.state, found.detail) == ("missing", "not installed: no-such-package")
    assert "make install" in found.mend


@pytest.mark.parametrize(
    ("devices", "wanted", "state"),
    [([], "auto", "ok"), ([], "cuda:0", "missing"), (["H200"], "cuda", "ok"), ([], "cpu", "ok")],
)
def test_the_device_that_is_asked_for_has_to_be_seen_by_torch(
    devices: list[str], wanted: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = json.dumps({"devices": devices, "threads": 2})
    monkeypatch.setattr(software, "ASK_TORCH", f"print({answer!r})")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert software.device(settings(device=wanted)).state == state


def test_a_driver_that_torch_does_not_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "ASK_TORCH", 'print(\'{"devices": [], "threads": 2}\')')
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    found = software.device(settings())
    assert found.state == "warning"
    assert "CUDA build" in found.mend


def test_a_torch_that_does_not_work_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "ASK_TORCH", "import sys; sys.exit(1)")
    assert software.device(settings()).state == "missing"


def test_a_disk_with_less_than_the_least_room_is_missing(tmp_path: Path) -> None:
    deep = tmp_path / "not" / "there" / "yet"
    assert machine.disk(settings(data_dir=deep, min_free_bytes=1)).state == "ok"
    assert machine.disk(settings(data_dir=deep, min_free_bytes=2**62)).state == "missing"


def test_the_embedded_store_runs_here() -> None:
    found = machine.store(settings())
    assert found.state == "ok"
    assert "Valkey server v=" in found.detail


def test_a_store_that_is_named_has_to_answer(store_url: str) -> None:
    assert machine.store(settings(redis_url=store_url)).state in ("ok", "warning")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        assert machine.store(settings(redis_url=url)).state == "missing"
    found = machine.store(settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    assert found.state == "missing"
    assert "unset that variable" in found.mend


def test_a_port_that_retouch_itself_has_is_fine_and_anybody_elses_is_not() -> None:
    script = {"GET /v1/capabilities": [as_json({"limits": {}}), as_json({})]}
    with ScriptedServer(script).running() as server:
        port = int(server.url.rpartition(":")[2])
        assert machine.port(settings(port=port)).state == "ok"
        found = machine.port(settings(port=port))
    assert found.state == "missing"
    assert f"--port {port + 1}" in found.mend


@pytest.mark.parametrize(
    ("name", "state"),
    [("somebody/some-model", "warning"), ("/no/such/folder", "missing"), ("word", "missing")],
)
def test_a_base_that_is_not_here_is_told_from_one_of_the_hub(name: str, state: str) -> None:
    assert models.base(settings(base_model=name)).state == state


def test_a_folder_in_diffusers_layout_is_a_base(tmp_path: Path) -> None:
    assert models.base(settings(base_model=str(tmp_path))).state == "missing"
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert models.base(settings(base_model=str(tmp_path))).state == "ok"


def test_the_lora_files_of_the_folder_are_counted(tmp_path: Path) -> None:
    assert models.loras(settings(loras_dir=tmp_path)).state == "warning"
    (tmp_path / "a.safetensors").touch()
    assert models.loras(settings(loras_dir=tmp_path)).detail.startswith("1 file in ")


def test_python_is_this_one() -> None:
    assert software.python(settings()).detail == sys.version.split()[0]


def test_an_object_store_that_does_not_take_pictures_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lead_to("http://127.0.0.1:1", monkeypatch)

    assert machine.blobs(settings()).state == "ok"
    found = machine.blobs(settings(blob_url="s3://photos/retouch"))

    assert (found.state, "object store" in found.detail) == ("missing", True)
