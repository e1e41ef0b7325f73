"""Decides for which base a LoRA was made, from shapes, metadata and file name.

Shapes take precedence over metadata, and metadata over the name; every contradiction is kept as
evidence. Anyone can choose a name, so a name that contradicts the shapes counts against a file only
if its metadata agrees with the name. Reads nothing itself.
"""

from collections.abc import Mapping
from typing import NamedTuple

from shared.bases import BASES, FLUX, SD3, UNKNOWN
from shared.loras.clues import Candidates, Clue, clues_from_shapes
from shared.loras.layers import Layers
from shared.loras.modules import Modules
from shared.loras.origin import Claim, claim_of_metadata, claim_of_name
from shared.loras.placement import fits_whole
from shared.loras.plans import published_modules
from shared.loras.reasons import Finding, Reason

_TRANSFORMERS = frozenset({SD3.id, FLUX.id})


class Detection(NamedTuple):
    """The base, all bases that remain possible, the evidence, any problem with the name, whether
    nothing better than the name decided, and which bases were possible before that.
    """

    base: str
    bases: list[str]
    evidence: list[str]
    findings: list[Finding]
    by_name: bool
    open_bases: list[str]


def detect_base(
    found: Layers, metadata: dict[str, str], stem: str, known: Mapping[str, Modules]
) -> Detection:
    """Decides the base of a file's layers. `known` are the modules of bases that are available."""
    clues = clues_from_shapes(found)
    in_metadata, in_name = claim_of_metadata(metadata), claim_of_name(stem)
    possible = _narrow_by_modules(_intersect(clues), found, known)
    evidence = [_describe(clue) for clue in clues]
    if clues and not possible:
        evidence.append("the tensors fit no supported base")
    by_metadata = _narrow(possible, in_metadata, evidence)
    left = _narrow(by_metadata, in_name, evidence)
    findings = _judge_name(possible, in_metadata, in_name)
    base = next(iter(left)) if len(left) == 1 else UNKNOWN.id
    by_name = len(by_metadata) > len(left)
    bases = sorted(left) or [UNKNOWN.id]
    return Detection(base, bases, evidence, findings, by_name, sorted(by_metadata))


def _intersect(clues: list[Clue]) -> Candidates:
    firm = [clue.candidates for clue in clues if not clue.is_weak]
    weak = [clue.candidates for clue in clues if clue.is_weak]
    possible = frozenset.intersection(*firm) if firm else frozenset(BASES) - {UNKNOWN.id}
    for candidates in weak:
        possible = possible & candidates or possible
    return possible if clues else frozenset()


def _narrow_by_modules(
    possible: Candidates, found: Layers, known: Mapping[str, Modules]
) -> Candidates:
    """Of several bases, keeps those in whose modules every layer has a place, if there are any."""
    if len(possible) < 2:
        return possible
    modules = {base: known.get(base) or published_modules(base) for base in possible}
    fitting = {base for base, at in modules.items() if at and fits_whole(found, at)}
    # The modules of transformers are not known here, so nothing speaks against them.
    return frozenset(fitting) | (possible & _TRANSFORMERS) if fitting else possible


def _narrow(possible: Candidates, claim: Claim | None, evidence: list[str]) -> Candidates:
    """Lets a claim decide among the possible bases; records it, also when it cannot be true."""
    if claim is None:
        return possible
    if claim.base.id in possible:
        evidence.append(claim.text)
        return frozenset({claim.base.id})
    if claim.base is UNKNOWN and possible and possible <= _TRANSFORMERS:
        # Families of diffusion transformers share widths; the trainer knew which one it was.
        evidence.append(claim.text)
        return frozenset()
    remaining = _labels(possible) or "no known base"
    evidence.append(f"{claim.text}, overruled: the tensors say {remaining}")
    return possible


def _judge_name(
    possible: Candidates, in_metadata: Claim | None, in_name: Claim | None
) -> list[Finding]:
    if in_name is None or in_metadata is None or in_name.base != in_metadata.base:
        return []
    if not possible or in_name.base.id in possible or in_name.base is UNKNOWN:
        return []
    facts = {"tag": in_name.base.label, "shapes": _labels(possible)}
    return [Finding(Reason.NAME_CONTRADICTS_SHAPES, dict(facts))]


def _describe(clue: Clue) -> str:
    return f"{clue.text}: {_labels(clue.candidates) or 'no known base'}"


def _labels(ids: Candidates) -> str:
    return " or ".join(base.label for base in BASES.values() if base.id in ids)
