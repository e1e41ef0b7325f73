"""From npm's folder to the page's files: a runtime, and weights as ONNX.

Downloads nothing; `npm ci` has done that by the lock file. The folder's name is a hash of its
contents, so that browsers may cache the files forever.
"""

import gzip
import hashlib
import json
import shutil
from pathlib import Path

from api.extras.convert import convert

RUNTIME = Path("onnxruntime-web")
WEIGHTS = Path("@upscalerjs") / "esrgan-slim"
# The small runtime has only WebAssembly, the other one WebNN and WebGPU too.
RUNTIME_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
SCALE = 2
MODEL = "super-resolution.onnx"
MANIFEST = "manifest.json"


def install(modules: Path, target: Path) -> Path:
    """Replaces the files below `target` and lists them in its manifest.

    Raises FileNotFoundError if npm has not installed them; `target` is then unchanged.
    """
    making = target.with_name(target.name + ".part")
    shutil.rmtree(making, ignore_errors=True)
    folder = making / "files"
    folder.mkdir(parents=True)
    _collect(modules, folder)
    version = _digest(folder)
    folder = folder.rename(making / version)
    for path in folder.glob("*.wasm"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    manifest = {"root": f"/static/extra/{version}/", "model": MODEL, "scale": SCALE}
    (making / MANIFEST).write_text(json.dumps(manifest))
    shutil.rmtree(target, ignore_errors=True)
    return making.rename(target)


def _collect(modules: Path, folder: Path) -> None:
    for name in RUNTIME_FILES:
        shutil.copyfile(modules / RUNTIME / "dist" / name, folder / name)
    weights = modules / WEIGHTS
    shutil.copyfile(weights / "LICENSE", folder / "LICENSE.weights")
    model = convert(weights / "models" / f"x{SCALE}" / "model.json")
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
