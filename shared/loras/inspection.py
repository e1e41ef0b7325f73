"""One file, judged by itself: header, layout, layers, base, strings, values.

The order is that of cost and of danger: nothing is parsed before its size is known, no weight is
read before the layout is proven. Knows nothing of the running base, releases and sidecars.
"""

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.bases import UNKNOWN
from shared.loras.body import Body, read_body
from shared.loras.detect import detect_base
from shared.loras.entry import LoraKind
from shared.loras.files import FileKey, is_regular, key_of, open_file
from shared.loras.header import Header, Tensor, read_header
from shared.loras.kinds import judge_layers, name_kind
from shared.loras.layers import read_layers
from shared.loras.layout import check_layout
from shared.loras.reasons import Finding, Reason, Refused, clean
from shared.loras.strings import scan_metadata

MAX_FILE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Inspection:
    """Everything that a file says of itself; `findings` in the order of their weight."""

    key: FileKey
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    base: str = UNKNOWN.id
    bases: tuple[str, ...] = (UNKNOWN.id,)
    kind: LoraKind = LoraKind.UNKNOWN
    rank: int | None = None
    scheme: str = "unknown"
    sha256: str = ""

    @property
    def may_grow(self) -> bool:
        """Whether the file may still be on its way."""
        return any(finding.may_grow for finding in self.findings)


ReadBody = Callable[[BinaryIO, FileKey, int, list[Tensor]], Body]


def read_body_anew(file: BinaryIO, _key: FileKey, body_start: int, tensors: list[Tensor]) -> Body:
    """Read the body without remembering it."""
    return read_body(file, body_start, tensors)


def inspect_file(path: Path, stem: str, read: ReadBody = read_body_anew) -> Inspection:
    """Judge the file at `path`, which is offered under the name `stem`.

    Raises OSError when the file cannot be opened or read; whatever is in it becomes findings.
    """
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        key = key_of(status)
        if not is_regular(status):
            return Inspection(key, (Finding(Reason.UNREADABLE, {"why": "not a regular file"}),))
        if key.size > MAX_FILE_BYTES:
            facts: dict[str, str | int] = {"size": key.size, "limit": MAX_FILE_BYTES}
            return Inspection(key, (Finding(Reason.FILE_TOO_LARGE, facts),))
        inspection = _inspect_open(file, key, stem, read)
        changed = key_of(os.fstat(file.fileno())) != key
    return Inspection(key, (Finding(Reason.STILL_CHANGING, {}),)) if changed else inspection


def _inspect_open(file: BinaryIO, key: FileKey, stem: str, read: ReadBody) -> Inspection:
    try:
        header = read_header(file, key.size)
        ordered = check_layout(header, key.size)
    except Refused as error:
        return Inspection(key, (error.finding,), sha256=read(file, key, 0, []).sha256)
    return _inspect_sound(file, key, stem, header, ordered, read)


def _inspect_sound(
    file: BinaryIO, key: FileKey, stem: str, header: Header, ordered: list[Tensor], read: ReadBody
) -> Inspection:
    found = read_layers(header.tensors)
    kind = name_kind(found, header.metadata)
    detection = detect_base(found, header.metadata, stem)
    scan = scan_metadata(header.metadata)
    body = read(file, key, header.body_start, ordered)
    findings = (
        *_judge_values(body, ordered),
        *judge_layers(found, kind, ordered),
        *scan.findings,
        *detection.findings,
    )
    layers = f"{len(found.by_module)} layers, {found.scheme} naming"
    return Inspection(
        key=key,
        findings=findings,
        evidence=(layers, *detection.evidence, *scan.notes),
        base=detection.base,
        bases=tuple(detection.bases),
        kind=kind,
        rank=found.rank,
        scheme=found.scheme,
        sha256=body.sha256,
    )


def _judge_values(body: Body, ordered: list[Tensor]) -> list[Finding]:
    if body.bad_offset is None:
        return []
    index = bisect_right(ordered, body.bad_offset, key=lambda tensor: tensor.begin) - 1
    return [Finding(Reason.NOT_FINITE, {"name": clean(ordered[index].name)})]
