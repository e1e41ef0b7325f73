"""From an inspected file, its sidecar and the releases to the entry that the catalogue shows.

This is where the verdict falls. Reads nothing itself.
"""

import re
from pathlib import Path

from shared.bases import BASES, FLUX, SD3, UNKNOWN
from shared.ledger.strikes import Suspension
from shared.loras.entry import LoraEntry, LoraState
from shared.loras.inspection import Inspection
from shared.loras.origin import shorten
from shared.loras.reasons import Finding, Reason, clean
from shared.loras.release import LOCK_NAME
from shared.loras.sidecar import Sidecar
from shared.params import LORA_NAME

_MAX_EVIDENCE = 16
# The schemes that a base's pipeline reads: for a UNet those of worker/engine/lora/lora_names.py,
# for a transformer those of diffusers' own loader.
_READ_FOR_UNETS = frozenset({"diffusers", "peft", "kohya", "comfy"})
_READ = {SD3.id: frozenset({"diffusers"}), FLUX.id: frozenset({"diffusers", "kohya", "xlabs"})}
_RELEASE_EN = f" To offer it anyway, add its sha256 to [released] in {LOCK_NAME}."
_RELEASE_ZH = f"确认无害后，可将它的 sha256 加入 {LOCK_NAME} 的 [released]。"


def make_entry(
    path: Path,
    stem: str,
    seen: Inspection,
    sidecar: Sidecar,
    note: str | None,
    base: str | None,
    suspension: Suspension | None = None,
) -> LoraEntry:
    """The entry of one file.

    `note` is its release, if a person released it; `base` is the running one, None to judge the
    file for itself.
    """
    findings = [*_judge_name(stem), *seen.findings, *_judge_base(seen, base)]
    findings += _judge_conduct(suspension)
    held = [finding for finding in findings if not (note is not None and finding.releasable)]
    verdict = _weigh(held)
    return LoraEntry(
        name=clean(stem, 64),
        short_name=clean(shorten(stem), 64),
        path=path,
        title=sidecar.title or _plain_title(shorten(stem)),
        base=seen.base,
        bases=list(seen.bases),
        kind=seen.kind,
        rank=seen.rank,
        scheme=seen.scheme,
        state=verdict.state if verdict else LoraState.AVAILABLE,
        reason_code=verdict.reason.value if verdict else None,
        reason=_in_english(verdict) if verdict else None,
        reason_zh=_in_chinese(verdict) if verdict else None,
        evidence=_evidence(findings, verdict, seen, sidecar, note),
        size_bytes=seen.key.size,
        sha256=seen.sha256,
        identity=(seen.key.device, seen.key.inode, seen.key.size, seen.key.mtime_ns),
        **sidecar.model_dump(exclude={"title", "complaints"}),
    )


def _judge_name(stem: str) -> list[Finding]:
    return [] if re.fullmatch(LORA_NAME, stem) else [Finding(Reason.UNUSABLE_NAME, {})]


def _judge_base(seen: Inspection, base: str | None) -> list[Finding]:
    if seen.base == UNKNOWN.id:
        return [_unknown_base(seen)]
    if base == seen.base and seen.scheme not in _READ.get(base, _READ_FOR_UNETS):
        return [Finding(Reason.UNREAD_NAMING, {"scheme": seen.scheme, "running": _label(base)})]
    if base is None or base == seen.base:
        return []
    facts = {"made_for": _label(seen.base), "running": _label(base)}
    return [Finding(Reason.OTHER_BASE, dict(facts))]


def _unknown_base(seen: Inspection) -> Finding:
    if seen.bases == (UNKNOWN.id,):
        return Finding(Reason.UNKNOWN_BASE, {})
    bases = " or ".join(map(_label, seen.bases))
    return Finding(Reason.AMBIGUOUS_BASE, {"bases": bases, "tag": seen.bases[0]})


def _judge_conduct(suspension: Suspension | None) -> list[Finding]:
    if suspension is None:
        return []
    return [Finding(Reason.SUSPENDED, {"strikes": suspension.strikes})]


def _label(base: str) -> str:
    return BASES[base].label if base in BASES else base


def _weigh(findings: list[Finding]) -> Finding | None:
    """The finding that decides: what holds a file back counts before what makes it unfit."""
    held = [finding for finding in findings if finding.state is LoraState.QUARANTINED]
    return next(iter((*held, *findings)), None)


def _in_english(verdict: Finding) -> str:
    return verdict.en + (_RELEASE_EN if verdict.releasable else "")


def _in_chinese(verdict: Finding) -> str:
    return verdict.zh + (_RELEASE_ZH if verdict.releasable else "")


def _plain_title(short: str) -> dict[str, str]:
    words = clean(re.sub(r"[-_]+", " ", short).strip().capitalize(), 64)
    return {"en": words, "zh": words}


def _evidence(
    findings: list[Finding],
    verdict: Finding | None,
    seen: Inspection,
    sidecar: Sidecar,
    note: str | None,
) -> list[str]:
    others = [finding.en for finding in findings if finding is not verdict]
    released = [] if note is None else [f"released in {LOCK_NAME}: {clean(note, 100)}"]
    return [*seen.evidence, *others, *released, *sidecar.complaints][:_MAX_EVIDENCE]
