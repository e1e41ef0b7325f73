"""A GGUF file in a checkpoint's folder, in place of its transformer's weights.

Owns where it may be, and reads its header without a library, so that a file that cannot be served
is known before the libraries are imported. The format is ggml's (docs/gguf.md in ggml-org/ggml).
"""

import struct
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from shared.checkpoints.other_models import name_other
from shared.loras.reasons import clean

SUFFIX = ".gguf"
PART = "transformer"
_WEIGHTS = (".safetensors", ".bin")
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
# Bytes of a metadata value by its type's number.
_VALUE_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MOST_ENTRIES = 2**24
# The types that diffusers reads: numbers in a block, and its bytes, by the type's number.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    30: (1, 2),  # F32, F16, BF16
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    20: (32, 18),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    23: (256, 136),
}
_READ_TYPES = "Q8_0, Q6_K, Q5_K, Q4_K, Q4_0 and their neighbours"
# What the names of a family's tensors contain, in the original's and in diffusers' naming.
_MARKS = {
    "Flux": ("double_blocks.", "single_transformer_blocks."),
    "SD3": ("joint_blocks.", ".attn.add_q_proj."),
    "QwenImage": (".img_mlp.",),
}


class _BadFile(ValueError):
    """Raised for a file that cannot be read; the text follows its name."""


def gguf_files(folder: Path) -> list[Path]:
    """The GGUF files from which a checkpoint's network could be read: those in the part's folder
    and beside it. None are used if the part has weights of its own.
    """
    part = next((folder / name for name in (PART, "unet") if (folder / name).is_dir()), None)
    inside = _files(part) if part else []
    if any(path.suffix in _WEIGHTS for path in inside):
        return []
    return [path for path in (*inside, *_files(folder)) if path.suffix.lower() == SUFFIX]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def gguf_complaint(folder: Path, config: Mapping[str, Any]) -> str:
    """Why the folder's GGUF file is not served, worded to follow "it is"; empty if it is, or if
    there is none. `config` is the transformer's configuration.
    """
    files = gguf_files(folder)
    if not files:
        return ""
    complaint = _about_folder(folder, files, config)
    if complaint:
        return f"a folder {complaint}"
    try:
        names = read_names(files[0])
    except _BadFile as error:
        return f"a folder whose '{files[0].name}' {error}"
    return _about_family(files[0], names, str(config.get("_class_name", "")))


def _about_folder(folder: Path, files: list[Path], config: Mapping[str, Any]) -> str:
    if (folder / "unet").is_dir():
        return (
            "whose UNet is a GGUF file; only transformers (SD 3, FLUX, Qwen-Image) are read from "
            "one. Use the same model with .safetensors; RETOUCH_QUANTIZE=int8 makes it smaller"
        )
    if len(files) > 1:
        names = " and ".join(f"'{path.name}'" for path in files)
        return f"with several GGUF files ({names}): leave one of them in it"
    if not config:
        return (
            f"with a GGUF file and without {PART}/config.json, which says how its network is "
            "built: copy it from the model's folder on the hub"
        )
    if find_spec("gguf") is None:
        return "whose network is a GGUF file, which needs a package: pip install 'retouch[gguf]'"
    return ""


def _about_family(file: Path, names: Collection[str], kind: str) -> str:
    family = next((family for family in _MARKS if kind.startswith(family)), None)
    if family is None or any(mark in name for name in names for mark in _MARKS[family]):
        return ""
    found = name_other(names, is_whole=False)
    is_what = found.what if found else f"another network (with a {clean(next(iter(names), '?'))})"
    return (
        f"a folder for {clean(kind)}, and its '{file.name}' is {is_what}: put the right one there"
    )


def read_names(path: Path) -> list[str]:
    """The names of a file's tensors. Raises _BadFile."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return _read_header(file, size)
        except (EOFError, struct.error, UnicodeDecodeError) as error:
            raise _BadFile("is incomplete or damaged. Download it again") from error


def _read_header(file: BinaryIO, size: int) -> list[str]:
    if _take(file, 4) != b"GGUF":
        raise _BadFile("is no GGUF file. Download it again")
    version, tensors, entries = struct.unpack("<IQQ", _take(file, 20))
    if version not in _VERSIONS or max(tensors, entries) > _MOST_ENTRIES:
        raise _BadFile(f"is of version {version} of the format; versions 2 and 3 are read")
    alignment = _skip_metadata(file, entries)
    ends = dict(_tensor(file) for _ in range(tensors))
    start = -(-file.tell() // alignment) * alignment
    end = start + max(ends.values(), default=0)
    if not ends or end > size:
        raise _BadFile(f"is incomplete: {size:,} of {end:,} bytes. Download it again")
    return list(ends)


def _skip_metadata(file: BinaryIO, entries: int) -> int:
    """Reads past the metadata; returns the alignment of the weights."""
    alignment = 32
    for _ in range(entries):
        name, kind = _text(file), _number(file)
        if name == b"general.alignment" and kind == 4:
            alignment = max(1, _number(file))
        else:
            _skip_value(file, kind)
    return alignment


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _text(file)
    elif kind == _ARRAY:
        inner, (count,) = _number(file), struct.unpack("<Q", _take(file, 8))
        if inner in _VALUE_SIZES:
            _take(file, count * _VALUE_SIZES[inner])
        else:
            for _ in range(min(count, _MOST_ENTRIES)):
                _skip_value(file, inner)
    elif kind in _VALUE_SIZES:
        _take(file, _VALUE_SIZES[kind])
    else:
        raise EOFError(f"no value has the type {kind}")


def _tensor(file: BinaryIO) -> tuple[str, int]:
    """A tensor's name, and where its bytes end in the body."""
    name = _text(file).decode()
    sides = _number(file)
    shape = struct.unpack(f"<{sides}Q", _take(file, 8 * sides))
    kind, offset = struct.unpack("<IQ", _take(file, 12))
    if kind not in _BLOCKS:
        raise _BadFile(
            f"has weights of a type (number {kind}) that diffusers does not read: use a file with "
            f"{_READ_TYPES}"
        )
    numbers, size = _BLOCKS[kind]
    return name, offset + prod(shape) // numbers * size


def _text(file: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", _take(file, 8))
    return _take(file, length)


def _number(file: BinaryIO) -> int:
    value: int = struct.unpack("<I", _take(file, 4))[0]
    return value


def _take(file: BinaryIO, length: int) -> bytes:
    taken = file.read(length) if length < 2**28 else b""
    if len(taken) < length:
        raise EOFError("the file ends in its header")
    return taken
