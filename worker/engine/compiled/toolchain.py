"""What torch's compiler needs beside itself: a C++ compiler, and for a CUDA device Triton and the
CUDA headers. Where something is missing no code is made; code from disk needs none of it.

Triton and most of the headers come with torch's packages for CUDA, the others in two small ones
(github.com/pytorch/pytorch/issues/197765): with CUDA 13 `nvidia-cuda-crt` and `nvidia-cuda-cccl`,
with CUDA 12 `nvidia-cuda-nvcc-cu12` and `nvidia-cuda-cccl-cu12`. A CUDA toolkit has them all.
"""

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch

# Where the packages put headers and libraries: with CUDA 13 all of them, with CUDA 12 the runtime.
_PACKAGED = ("cu13", "cuda_runtime")
_INSTALLED = "/usr/local/cuda"
_HEADERS = ("cuda.h", "cuda_runtime.h", "cuda_fp8.h", "crt/host_defines.h", "nv/target")

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
    names, that of the packages, or the usual one. None if headers are missing there.
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
    return {
        "CUDA_HOME": str(home),
        "CPATH": _joined("CPATH", *_include_folders(home)),
        "LIBRARY_PATH": _joined("LIBRARY_PATH", linked),
        "TRITON_CACHE_DIR": str(files / "triton"),
    }


def _joined(name: str, *folders: Path) -> str:
    """The folders before those that the variable has."""
    known = [os.environ[name]] if os.environ.get(name) else []
    return os.pathsep.join([*map(str, folders), *known])


def _packaged() -> list[Path]:
    spec = find_spec("nvidia")
    roots = (spec.submodule_search_locations or []) if spec is not None else []
    return [Path(root) / name for root in roots for name in _PACKAGED]


def _include_folders(home: Path) -> list[Path]:
    # With CUDA 13 some are in a folder of their own, with CUDA 12 in packages beside the runtime's.
    own = home / "include", home / "include" / "cccl"
    others = (home.parent / name / "include" for name in ("cuda_nvcc", "cuda_cccl"))
    return [folder for folder in (*own, *others) if folder.is_dir()]


def _has_headers(home: Path) -> bool:
    folders = _include_folders(home)
    return all(any((folder / name).is_file() for folder in folders) for name in _HEADERS)


def _driver() -> str:
    """The driver's library as a path, if this process has loaded it, which torch does."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    loaded = (line.split()[-1] for line in lines if _DRIVER.removesuffix(".1") in line)
    return next(loaded, _DRIVER)
