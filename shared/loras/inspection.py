"""Judges one file by itself: header, layout, layers, base, strings, values.

The order follows cost and danger: nothing is parsed before its size is known, no weight is read
before the layout is verified. Knows nothing of the running base, releases and sidecars.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from shared.bases import BASES, FLUX, SD3, UNKNOWN
from shared.loras.body import Body, read_body
from shared.loras.detect import detect_base
from shared.loras.dialects import scheme_of
from shared.loras.entry import LoraKind
from shared.loras.files import FileKey, is_regular, key_of, open_file
from shared.loras.header import Header, Tensor, read_header
from shared.loras.kinds import judge_layers, judge_plainness, name_kind
from shared.loras.layers import Layers, read_layers
from shared.loras.layout import check_layout
from shared.loras.modules import Modules
from shared.loras.one_step import Layout, layout_of, unserved_restorer
from shared.loras.placement import Unplaced, place
from shared.loras.reasons import Finding, Reason, Refused, clean
from shared.loras.strings import scan_metadata

MAX_FILE_BYTES = 2 * 2**30
# Transformers are loaded by diffusers' own loader.
_TRANSFORMERS = frozenset({SD3.id, FLUX.id})
# Descriptions that trainers write for people; the first two are names.
NAMES = ("modelspec.title", "ss_output_name")
TITLES = (*NAMES, "modelspec.trigger_phrase")


@dataclass(frozen=True)
class Inspection:
    """Everything read from a file itself; `findings` in the order of their weight."""

    key: FileKey
    findings: tuple[Finding, ...] = ()
    evidence: tuple[str, ...] = ()
    base: str = UNKNOWN.id
    bases: tuple[str, ...] = (UNKNOWN.id,)
    kind: LoraKind = LoraKind.UNKNOWN
    rank: int | None = None
    scheme: str = "unknown"
    sha256: str = ""
    by_name: bool = False
    open_bases: tuple[str, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    layout: Layout | None = None

    @property
    def may_grow(self) -> bool:
        """Whether the file may still be being copied."""
        return any(finding.may_grow for finding in self.findings)


ReadBody = Callable[[BinaryIO, FileKey, int, list[Tensor]], Body]


def read_body_anew(file: BinaryIO, _key: FileKey, body_start: int, tensors: list[Tensor]) -> Body:
    """Reads the body without storing the result."""
    return read_body(file, body_start, tensors)


Facts = dict[str, str | int]
Bases = Mapping[str, Modules]
"""The modules of the bases whose networks are known here."""


def inspect_file(
    path: Path, stem: str, read: ReadBody = read_body_anew, bases: Bases = MappingProxyType({})
) -> Inspection:
    """Judges the file at `path`, which is offered under the name `stem`. If its base is among
    `bases`, every layer is looked up there.

    Raises OSError if the file cannot be opened or read; all problems of its contents become
    findings.
    """
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        key = key_of(status)
        if not is_regular(status):
            return Inspection(key, (Finding(Reason.UNREADABLE, {"why": "not a regular file"}),))
        if key.size > MAX_FILE_BYTES:
            facts: Facts = {"size": key.size, "limit": MAX_FILE_BYTES}
            return Inspection(key, (Finding(Reason.FILE_TOO_LARGE, facts),))
        inspection = _inspect_open(file, key, stem, read, bases)
        changed = key_of(os.fstat(file.fileno())) != key
    return Inspection(key, (Finding(Reason.STILL_CHANGING, {}),)) if changed else inspection


def _inspect_open(
    file: BinaryIO, key: FileKey, stem: str, read: ReadBody, bases: Bases
) -> Inspection:
    try:
        header = read_header(file, key.size)
        ordered = check_layout(header, key.size)
    except Refused as error:
        return Inspection(key, (error.finding,), sha256=read(file, key, 0, []).sha256)
    body = read(file, key, header.body_start, ordered)
    return _inspect_sound(key, stem, header, ordered, body, bases)


def _inspect_sound(
    key: FileKey, stem: str, header: Header, ordered: list[Tensor], body: Body, bases: Bases
) -> Inspection:
    found = read_layers(header.tensors)
    kind = name_kind(found, header.metadata)
    detection = detect_base(found, header.metadata, stem, bases)
    scan = scan_metadata(header.metadata)
    modules = bases.get(detection.base)
    unplaced = place(found, modules).unplaced if modules else []
    judged = judge_layers(found, kind, ordered)
    findings = (
        *_judge_values(body, ordered),
        *_judge_restorer([tensor.name for tensor in ordered], stem),
        *judged,
        *_judge_places(detection.base, unplaced),
        *(() if modules else _judge_naming(found)),
        *(judge_plainness(found, kind, ordered) if detection.base in _TRANSFORMERS else ()),
        *scan.findings,
        *detection.findings,
    )
    layers = f"{len(found.by_module)} layers, {found.scheme} naming"
    return Inspection(
        key=key,
        findings=findings,
        evidence=(layers, *detection.evidence, *_notes(found), *scan.notes),
        base=detection.base,
        bases=tuple(detection.bases),
        kind=kind,
        rank=found.rank,
        scheme=found.scheme,
        sha256=body.sha256,
        by_name=detection.by_name,
        open_bases=tuple(detection.open_bases),
        unplaced=(*unplaced, *(Unplaced(tensor.name, "module") for tensor in found.foreign)),
        metadata=tuple((k, v) for k in TITLES if (v := header.metadata.get(k))),
        layout=layout_of(tensor.name for tensor in header.tensors),
    )


def _judge_restorer(names: list[str], stem: str) -> Iterator[Finding]:
    publication = unserved_restorer(names, stem)
    if publication is not None:
        facts: Facts = {"what": publication, "base": SD3.label}
        yield Finding(Reason.UNSERVED_RESTORER, facts)


def _judge_places(base: str, unplaced: list[Unplaced]) -> Iterator[Finding]:
    """Tensors without a place."""
    for why, reason in (("module", Reason.NO_SUCH_MODULE), ("shape", Reason.OTHER_SHAPE)):
        names = [tensor.name for tensor in unplaced if tensor.why == why]
        if names:
            facts: Facts = {
                "base": BASES[base].label,
                "name": clean(names[0]),
                "more": len(names) - 1,
            }
            yield Finding(reason, facts)


def _judge_naming(found: Layers) -> Iterator[Finding]:
    """Without the base's modules: tensors in no known dialect."""
    if found.scheme == "unknown" and found.by_module:
        spelled = next(name for name in found.by_module if scheme_of(name) == "unknown")
        yield Finding(Reason.UNKNOWN_NAMING, {"name": clean(spelled)})


def _notes(found: Layers) -> Iterator[str]:
    if found.beside:
        more = f" and {len(found.beside) - 1} more" if len(found.beside) > 1 else ""
        yield f"not used: {clean(found.beside[0])}{more}"


def _judge_values(body: Body, ordered: list[Tensor]) -> list[Finding]:
    if body.bad_offset is None:
        return []
    index = bisect_right(ordered, body.bad_offset, key=lambda tensor: tensor.begin) - 1
    return [Finding(Reason.NOT_FINITE, {"name": clean(ordered[index].name)})]
