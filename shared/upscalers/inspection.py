"""Judges one enlarger file: header or pickle, names and shapes, values; without torch.

Knows nothing of the running base, the sidecar and which file a job gets.
"""

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.loras.body import Body, read_body
from shared.loras.files import FileKey, is_regular, key_of, open_file
from shared.loras.header import Tensor, read_header
from shared.loras.layout import check_layout
from shared.loras.reasons import Finding, Reason, Refused, clean, refused
from shared.upscalers.architecture import Architecture, identify
from shared.upscalers.naming import published_names
from shared.upscalers.pickled import read_checkpoint

MAX_FILE_BYTES = 512 * 2**20
CHECKPOINT = ".pth"
CARRIED = frozenset({"F16", "BF16", "F32"})

ReadBody = Callable[[BinaryIO, FileKey, int, list[Tensor]], Body]


@dataclass(frozen=True)
class Inspection:
    """The result of judging a file: a network, or the finding that makes it unusable."""

    key: FileKey
    finding: Finding | None = None
    architecture: Architecture | None = None
    sha256: str = ""

    @property
    def may_grow(self) -> bool:
        """Whether the file may still be being copied."""
        return self.finding is not None and self.finding.may_grow


def read_body_anew(file: BinaryIO, _key: FileKey, body_start: int, tensors: list[Tensor]) -> Body:
    """Reads the body without storing the result."""
    return read_body(file, body_start, tensors)


def inspect_file(path: Path, read: ReadBody = read_body_anew) -> Inspection:
    """Judges a file. Raises OSError if it cannot be opened; problems of its contents are
    findings.
    """
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        key = key_of(status)
        if not is_regular(status):
            return Inspection(key, Finding(Reason.UNREADABLE, {"why": "not a regular file"}))
        if key.size > MAX_FILE_BYTES:
            facts: dict[str, str | int] = {"size": key.size, "limit": MAX_FILE_BYTES}
            return Inspection(key, Finding(Reason.FILE_TOO_LARGE, facts))
        pickled = path.suffix.lower() == CHECKPOINT
        found = _inspect_pickled(file, key, read) if pickled else _inspect_plain(file, key, read)
        changed = key_of(os.fstat(file.fileno())) != key
    return Inspection(key, Finding(Reason.STILL_CHANGING, {})) if changed else found


def _inspect_plain(file: BinaryIO, key: FileKey, read: ReadBody) -> Inspection:
    try:
        header = read_header(file, key.size)
        ordered = check_layout(header, key.size)
    except Refused as error:
        return Inspection(key, error.finding, sha256=_digest(file, key, read))
    body = read(file, key, header.body_start, ordered)
    try:
        _check_values(body, ordered)
        shapes = {tensor.name: tensor.shape for tensor in ordered}
        architecture = recognise(shapes, {tensor.name: tensor.dtype for tensor in ordered})
    except Refused as error:
        return Inspection(key, error.finding, sha256=body.sha256)
    return Inspection(key, None, architecture, body.sha256)


def _inspect_pickled(file: BinaryIO, key: FileKey, read: ReadBody) -> Inspection:
    sha256 = _digest(file, key, read)
    try:
        tensors = read_checkpoint(file, key.size)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        architecture = recognise(shapes, {name: one.dtype for name, one in tensors.items()})
    except Refused as error:
        return Inspection(key, error.finding, sha256=sha256)
    return Inspection(key, None, architecture, sha256)


def recognise(shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str]) -> Architecture:
    """The network that a file's names, shapes and types form. Raises Refused."""
    names = published_names(shapes)
    if len(set(names.values())) < len(names):
        raise refused(Reason.DUPLICATE_KEY, name="tensor")
    architecture = identify({names[name]: shape for name, shape in shapes.items()})
    for name, dtype in dtypes.items():
        if dtype not in CARRIED:
            raise refused(Reason.UNCARRIED_DTYPE, name=clean(name), dtype=dtype)
    return architecture


def _digest(file: BinaryIO, key: FileKey, read: ReadBody) -> str:
    return read(file, key, 0, []).sha256


def _check_values(body: Body, ordered: list[Tensor]) -> None:
    if body.bad_offset is None:
        return
    index = bisect_right(ordered, body.bad_offset, key=lambda tensor: tensor.begin) - 1
    raise refused(Reason.NOT_FINITE, name=clean(ordered[index].name))
