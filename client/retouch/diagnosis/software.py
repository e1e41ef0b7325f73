"""Checks Python, the packages, and the devices that torch can use.

torch is queried in a separate process, so that the command line does not import it.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from retouch.diagnosis.finding import Finding
from shared.settings import Settings

WORKER_PACKAGES = ("torch", "diffusers", "transformers", "peft", "safetensors", "accelerate")
TORCH_SECONDS = 120
ASK_TORCH = """
import json, torch
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
mps = ["mps"] if torch.backends.mps.is_available() else []
print(json.dumps({"devices": cuda + mps, "threads": torch.get_num_threads()}))
"""


def python(_settings: Settings) -> Finding:
    return Finding("Python", "ok", platform.python_version())


def packages(_settings: Settings) -> Finding:
    needed = [line for line in requires("retouch") or [] if "extra ==" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needed]
    missing = _missing(names)
    if missing:
        return Finding("packages", "missing", f"not installed: {missing}", "Run `make install`.")
    return Finding("packages", "ok", f"all {len(names)} are installed")


def torch(_settings: Settings) -> Finding:
    missing = _missing(WORKER_PACKAGES)
    if missing:
        mend = "Workers need them: `make install`, or pip install '.[worker]' in a checkout."
        return Finding("torch", "missing", f"not installed: {missing}", mend)
    return Finding("torch", "ok", f"torch {version('torch')}, diffusers {version('diffusers')}")


def device(settings: Settings) -> Finding:
    found = _ask_torch()
    if found is None:
        return Finding("device", "missing", "torch cannot be imported", "Reinstall torch.")
    names, wanted = found["devices"], settings.device
    if wanted.startswith(("cuda", "mps")) and not names:
        mend = "Install its driver and a torch build for it, or set RETOUCH_DEVICE=auto."
        return Finding("device", "missing", f"torch does not see {wanted}", mend)
    if not names and shutil.which("nvidia-smi"):
        mend = "Install a CUDA build of torch; until then the slower CPU is used."
        return Finding("device", "warning", "torch does not use the NVIDIA driver here", mend)
    return Finding("device", "ok", ", ".join(names) or f"cpu, {found['threads']} threads")


def _missing(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(name for name in names if not _is_installed(name))


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _ask_torch() -> dict[str, Any] | None:
    command = [sys.executable, "-P", "-c", ASK_TORCH]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return None
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found
