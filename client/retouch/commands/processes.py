"""Other parts, each as its own process: `retouch worker`, `api`, `train`, `build-engine`.

Owns the module names. The command line becomes that process, so signals and exit codes are its own,
and options are passed on unchanged.
"""

import os
import sys
from collections.abc import Callable

import typer

from retouch.server_packages import require_packages

PASS_THROUGH = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
OF_WORKER = ("worker", "torch", "diffusers")


def _become(module: str, arguments: list[str]) -> None:
    # -P: a folder called `api` in the current directory must not be imported.
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])


def worker(context: typer.Context) -> None:
    """Run one worker, connected to the store at RETOUCH_REDIS_URL."""
    require_packages("`retouch worker`", *OF_WORKER)
    _become("worker", context.args)


def api(context: typer.Context) -> None:
    """Run the gateway alone, connected to the store at RETOUCH_REDIS_URL."""
    require_packages("`retouch api`", "api", "fastapi")
    _become("api", context.args)


def train(context: typer.Context) -> None:
    """Train a LoRA from a folder of pictures; `retouch train --help` lists its options."""
    require_packages("`retouch train`", *OF_WORKER)
    _become("worker.training", context.args)


def convert(context: typer.Context) -> None:
    """Convert LoRAs saved by torch (.pkl, .pth, .pt) to .safetensors; no code in them is run."""
    require_packages("`retouch loras convert`", *OF_WORKER)
    _become("worker.conversion", context.args)


def train_base(context: typer.Context) -> None:
    """Train the embedded base model; `retouch train-base --help` lists its options."""
    require_packages("`retouch train-base`", *OF_WORKER)
    _become("worker.training.base", context.args)


def train_upscaler(context: typer.Context) -> None:
    """Train the embedded enlarger; `retouch train-upscaler --help` lists its options."""
    require_packages("`retouch train-upscaler`", *OF_WORKER)
    _become("worker.training.upscaler", context.args)


def build_engine(context: typer.Context) -> None:
    """Build TensorRT engines of the base; `retouch build-engine --help` lists its options."""
    require_packages("`retouch build-engine`", *OF_WORKER)
    _become("worker.engine.built", context.args)


COMMANDS: dict[str, Callable[[typer.Context], None]] = {
    "worker": worker,
    "api": api,
    "train": train,
    "train-base": train_base,
    "train-upscaler": train_upscaler,
    "build-engine": build_engine,
}
