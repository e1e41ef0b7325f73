"""Small checkpoints and LoRAs that the engine's tests share; no test changes their files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkpoints import make_sd15
from tests.support.engine_jobs import Loras, make_lora, start_engine
from worker.engine.step.step_engine import StepEngine


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of SD 1.5's classes."""
    return make_sd15(tmp_path_factory.mktemp("sd15"))


@pytest.fixture(scope="session")
def loras(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Loras:
    """`elsewhere` changes other layers than `narrow` and `wide` do."""
    into = tmp_path_factory.mktemp("loras")
    return Loras(
        narrow=make_lora(into, folder, "narrow", rank=2, alpha=2),
        wide=make_lora(into, folder, "wide", rank=8, alpha=4),
        conv=make_lora(into, folder, "conv", rank=4, alpha=4, targets=["conv1", "proj_in", "to_k"]),
        text=make_lora(into, folder, "text", rank=4, alpha=4, text=True),
        elsewhere=make_lora(into, folder, "elsewhere", rank=4, alpha=4, targets=["to_k", "to_v"]),
    )


@pytest.fixture
def engine(folder: Path) -> Iterator[StepEngine]:
    """Eight rows a step, nothing recorded."""
    running = start_engine(folder)
    yield running
    running.close()
