"""What torch's compiler needs beside itself: a C++ compiler, and for a CUDA device Triton and the
CUDA headers. Where something is missing no code is made; code from disk needs none of it.
"""

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

# Where the packages that torch's CUDA builds depend on put headers and libraries (CUDA 13, 12).
_PACKAGED = ("cu13", "cuda_runtime")
_INSTALLED = "/usr/local/cuda"
_HEADERS = ("cuda.h", "cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "cuda_fp8.h")

# Code is linked with the driver's library under a name that a driver alone does not provide.
_DRIVER, _LINKED = "libcuda.so.1", "libcuda.so"


def compiler() -> str:
    """The C++ compiler that torch uses: the one that CXX names, else g++."""
    return os.environ.get("CXX", "g++")


def has_compiler(device: torch.device | None = None) -> bool:
    """Whether everything is here that code for this device needs; without one, for the CPU."""
    if shutil.which(compiler()) is None:
        return False
    if device is None or device.type == "cpu":
        return True
    is_nvidia = device.type == "cuda" and torch.version.hip is None
    return is_nvidia and find_spec("triton") is not None and cuda_home() is not None


def cuda_home() -> Path | None:
    """A folder with `include` and `lib` or `lib64` of CUDA: the one that CUDA_HOME or CUDA_PATH
    names, that of torch's own packages, or the usual one.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [Path(named)] if named else [*_packaged(), Path(_INSTALLED)]
    return next((place for place in places if _has_headers(place)), None)


def environment(device: torch.device, files: Path) -> Mapping[str, str]:
    """What the compiling process needs in its environment for this device; may write into
    `files`.
    """
    home = cuda_home() if device.type == "cuda" else None
    if home is None:
        return {}
    linked = files / "linked"
    linked.mkdir(parents=True, exist_ok=True)
    link = linked / _LINKED
    if not link.is_symlink():
        link.symlink_to(_driver())
    paths = [str(linked), *filter(None, [os.environ.get("LIBRARY_PATH")])]
    return {
        "CUDA_HOME": str(home),
        "LIBRARY_PATH": os.pathsep.join(paths),
        "TRITON_CACHE_DIR": str(files / "triton"),
    }


def _packaged() -> list[Path]:
    spec = find_spec("nvidia")
    roots = (spec.submodule_search_locations or []) if spec is not None else []
    return [Path(root) / name for root in roots for name in _PACKAGED]


def _has_headers(place: Path) -> bool:
    return all((place / "include" / name).is_file() for name in _HEADERS)


def _driver() -> str:
    """The driver's library as a path, if this process has loaded it, which torch does."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    loaded = (line.split()[-1] for line in lines if _DRIVER.removesuffix(".1") in line)
    return next(loaded, _DRIVER)
