"""Which base a LoRA was made for: shapes, metadata and file name weighed against each other.

Shapes beat metadata and metadata beats the name; every disagreement is kept as evidence, and a
name that contradicts the shapes is a finding. Reads nothing itself.
"""

from typing import NamedTuple

from shared.bases import BASES, UNKNOWN
from shared.loras.clues import Candidates, Clue, clues_from_shapes
from shared.loras.layers import Layers
from shared.loras.origin import Claim, claim_of_metadata, claim_of_name
from shared.loras.reasons import Finding, Reason


class Detection(NamedTuple):
    """The base, all bases that remain possible, why, and what is wrong with the name."""

    base: str
    bases: list[str]
    evidence: list[str]
    findings: list[Finding]


def detect_base(found: Layers, metadata: dict[str, str], stem: str) -> Detection:
    """Decide the base of a file's layers."""
    clues = clues_from_shapes(found)
    in_metadata, in_name = claim_of_metadata(metadata), claim_of_name(stem)
    possible = _intersect(clues)
    evidence = [_describe(clue) for clue in clues]
    if clues and not possible:
        evidence.append("the tensors fit no base that is known here")
    left = _narrow(possible, in_metadata, evidence)
    left = _narrow(left, in_name, evidence)
    findings = _judge_name(possible, in_name)
    base = next(iter(left)) if len(left) == 1 else UNKNOWN.id
    return Detection(base, sorted(left) or [UNKNOWN.id], evidence, findings)


def _intersect(clues: list[Clue]) -> Candidates:
    sets = [clue.candidates for clue in clues]
    return frozenset.intersection(*sets) if sets else frozenset()


def _narrow(possible: Candidates, claim: Claim | None, evidence: list[str]) -> Candidates:
    """Let a claim decide among what is possible; note it, and note when it cannot be true."""
    if claim is None:
        return possible
    if claim.base.id in possible:
        evidence.append(claim.text)
        return frozenset({claim.base.id})
    remaining = _labels(possible) or "no known base"
    evidence.append(f"{claim.text}, overruled: the tensors say {remaining}")
    return possible


def _judge_name(possible: Candidates, claim: Claim | None) -> list[Finding]:
    if claim is None or not possible or claim.base.id in possible:
        return []
    facts = {"tag": claim.base.label, "shapes": _labels(possible)}
    return [Finding(Reason.NAME_CONTRADICTS_SHAPES, dict(facts))]


def _describe(clue: Clue) -> str:
    return f"{clue.text}: {_labels(clue.candidates) or 'no known base'}"


def _labels(ids: Candidates) -> str:
    return " or ".join(base.label for base in BASES.values() if base.id in ids)
