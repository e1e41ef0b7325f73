"""A gateway without a socket, on a real store, with three LoRAs and pictures to send."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient

from api.app import create_app
from shared.blobs import BlobStore, open_blobs
from shared.settings import Settings
from tests.support.judged_files import remember_judgements
from tests.support.pictures import photo
from tests.support.shared_decoders import SharedDecoders
from tests.unit.loras.lora_files import sdxl_specs, tiny_specs, write_lora

Gateway = Callable[..., TestClient]

FACE_TOML = """
title = {en = "Face restore", zh = "人脸修复"}
default_scale = 0.8
strength = 0.55
prompt = "a sharp portrait"
treats = ["blur"]
sample = "face_restore_tiny.png"
"""


@pytest.fixture(scope="session")
def loras_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "face_restore_tiny.safetensors", tiny_specs())
    (folder / "face_restore_tiny.toml").write_text(FACE_TOML)
    (folder / "face_restore_tiny.png").write_bytes(photo(kind="PNG"))
    write_lora(folder / "denoise_tiny.safetensors", tiny_specs())
    write_lora(folder / "product_lighting_sdxl.safetensors", sdxl_specs())
    return folder


@pytest.fixture
def gateway(
    make_settings: Callable[..., Settings],
    loras_dir: Path,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Gateway]:
    """Start a gateway with these settings; it is stopped when the test ends."""
    del redis_client  # empties the store first, looks at its keys afterwards
    monkeypatch.setattr("api.services.Decoders", SharedDecoders)
    remember_judgements(monkeypatch)
    with ExitStack() as stack:

        def start(**overrides: object) -> TestClient:
            settings = make_settings(**({"loras_dir": loras_dir} | overrides))
            client = TestClient(
                create_app(settings),
                base_url="http://127.0.0.1",
                raise_server_exceptions=False,
                headers={"Accept-Language": "en"},
            )
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(gateway: Gateway) -> TestClient:
    """A gateway as it is out of the box."""
    return gateway()


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    """The pictures behind `client`."""
    return open_blobs(settings)
