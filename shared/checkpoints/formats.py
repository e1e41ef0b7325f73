"""Files of formats that are not read as a base: what each one is, and what to do.

Goes by the end of a file's name alone; the formats that a file's first bytes tell are those of
shared/loras/header.py.
"""

from pathlib import Path

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.folder import SINGLE_FILES, read_config

_WANTED = "Use the same model as one .safetensors file or as a folder in diffusers' layout"
_PICKLED = (
    "a file of weights saved by torch. If it is a whole checkpoint, rename it to end in .ckpt; if "
    "it is a part of a folder in diffusers' layout, name the folder"
)
_ARCHIVE = "an archive. Unpack it, and name the .safetensors file or the folder inside"
_COMPILED = (
    "a TensorRT engine, which is compiled for one card and one version. Name the checkpoint that "
    "it was made from; `retouch build-engine` compiles it here"
)
GGUF = (
    "a GGUF file, which holds one network and no whole checkpoint. For SD 3, FLUX and Qwen-Image "
    "put it into transformer/ of the model's folder in diffusers' layout, beside config.json and "
    "instead of the .safetensors there; the folder also needs model_index.json, scheduler/, vae/, "
    "the text encoders and tokenizers, and the package: pip install 'retouch[gguf]'. Then name the "
    "folder. For SD 1.x, SD 2.x and SDXL use .safetensors; RETOUCH_QUANTIZE=int8 makes it smaller"
)
_KINDS = {
    ".gguf": GGUF,
    ".onnx": f"an ONNX file, made for ONNX Runtime. {_WANTED}",
    **dict.fromkeys((".engine", ".trt", ".plan"), _COMPILED),
    **dict.fromkeys((".bin", ".pt", ".pth", ".pkl"), _PICKLED),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"), _ARCHIVE),
    **dict.fromkeys((".msgpack", ".h5"), f"a file for Flax or TensorFlow. {_WANTED}"),
}
KNOWN_FILES = (*SINGLE_FILES, *_KINDS)
# Listed with the checkpoints, so that their owner learns why they are not served.
FOREIGN_MODELS = (".gguf", ".onnx", ".engine")


def check_format(file: Path) -> None:
    """Raises BadCheckpoint for a file of another format, or for a part of a folder."""
    part = file.parent.name
    if part in read_config(file.parent.parent / "model_index.json"):
        raise BadCheckpoint(
            f"'{file.name}' is one part ({part}) of a checkpoint: name its folder, "
            f"'{file.parent.parent}'"
        )
    suffix = file.suffix.lower()
    if suffix in SINGLE_FILES:
        return
    if suffix in _KINDS:
        raise BadCheckpoint(f"'{file.name}' is {_KINDS[suffix]}")
    raise BadCheckpoint(
        f"'{file.name}' is not a checkpoint that can be read: a single file ends in .safetensors "
        "(or .ckpt), everything else is a folder in diffusers' layout"
    )
