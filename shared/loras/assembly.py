"""Builds the catalogue's entry from an inspected file, its sidecar and the releases.

Decides the verdict. Reads nothing itself.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from shared.bases import BASES, FLUX, SD3, UNKNOWN
from shared.ledger.strikes import Suspension
from shared.loras.entry import LoraEntry, LoraKind, LoraState
from shared.loras.few_steps import FewSteps, recognise
from shared.loras.inspection import NAMES, Inspection
from shared.loras.one_step import recognise_one_step
from shared.loras.origin import claim_of_sidecar, shorten
from shared.loras.placement import Unplaced
from shared.loras.reasons import Finding, Reason, clean
from shared.loras.release import LOCK_NAME
from shared.loras.sidecar import Sidecar
from shared.params import MAX_NAME_CHARACTERS, LoraMode, is_lora_name

_MAX_EVIDENCE = 16
# Values that a job may use instead of a name.
_MODES = frozenset({LoraMode.AUTO.value, LoraMode.NONE.value})
_MAX_UNPLACED = 1000
_OF_PLACES = (Reason.NO_SUCH_MODULE, Reason.OTHER_SHAPE)
# LoRAs of transformers are loaded by diffusers' own loader, which supports these schemes.
_READ = {SD3.id: frozenset({"diffusers"}), FLUX.id: frozenset({"diffusers", "kohya", "xlabs"})}
_RELEASE_EN = f" To offer it anyway, add its sha256 to [released] in {LOCK_NAME}."
_RELEASE_ZH = f"确认无害后，可将它的 sha256 加入 {LOCK_NAME} 的 [released]。"


def make_entry(
    path: Path,
    name: str,
    seen: Inspection,
    sidecar: Sidecar,
    note: str | None,
    bases: Sequence[str] | None,
    suspension: Suspension | None = None,
    adapter_config: str = "",
) -> LoraEntry:
    """The entry of one file, which is called `name` (folders and stem).

    `note` is its release, if a person released it; `bases` are the families that are served, or
    None to judge the file by itself.
    """
    seen = _with_claim(seen, sidecar.base)
    short = _shortened(name)
    findings = [*_judge_name(name), *_own_findings(seen, bases), *_judge_base(seen, bases)]
    findings += _judge_conduct(suspension)
    held = [finding for finding in findings if not (note is not None and finding.releasable)]
    verdict, few = _weigh(held), _few_steps(name, seen)
    return LoraEntry(
        name=_shown(name),
        short_name=_shown(short),
        path=path,
        title=sidecar.title or _plain_title(short),
        base=seen.base,
        bases=list(seen.bases),
        kind=seen.kind,
        rank=seen.rank,
        scheme=seen.scheme,
        state=verdict.state if verdict else LoraState.AVAILABLE,
        reason_code=verdict.reason.value if verdict else None,
        reason=_in_english(verdict) if verdict else None,
        reason_zh=_in_chinese(verdict) if verdict else None,
        evidence=_evidence(findings, verdict, seen, sidecar, note, few),
        size_bytes=seen.key.size,
        sha256=seen.sha256,
        unplaced=_names(seen.unplaced),
        identity=(seen.key.device, seen.key.inode, seen.key.size, seen.key.mtime_ns),
        adapter_config=adapter_config,
        few_steps=few,
        **sidecar.model_dump(exclude={"title", "base"}),
    )


def _few_steps(name: str, seen: Inspection) -> FewSteps | None:
    names = [name, *(said for key, said in seen.metadata if key in NAMES)]
    has_unet = seen.base not in _READ
    one_step = recognise_one_step(seen.layout, names) if has_unet else None
    return one_step or recognise(
        names,
        covers_whole_unet=seen.kind is LoraKind.FULL,
        has_unet=has_unet,
    )


def _names(unplaced: Sequence[Unplaced]) -> tuple[str, ...]:
    shown = tuple(clean(tensor.name, 200) for tensor in unplaced[:_MAX_UNPLACED])
    more = len(unplaced) - len(shown)
    return (*shown, f"… {more}") if more else shown


def _judge_name(name: str) -> list[Finding]:
    is_usable = is_lora_name(name) and name not in _MODES
    return [] if is_usable else [Finding(Reason.UNUSABLE_NAME, {})]


def _shown(name: str) -> str:
    """The name if callers can send it back unchanged; otherwise a version that is safe to show."""
    return name if is_lora_name(name) else clean(name, MAX_NAME_CHARACTERS)


def _shortened(name: str) -> str:
    folder, slash, stem = name.rpartition("/")
    return f"{folder}{slash}{shorten(stem)}"


def _with_claim(seen: Inspection, said: str) -> Inspection:
    """A statement about the base in a file beside the LoRA decides if tensors and metadata do not,
    and takes precedence over the name.
    """
    claim = claim_of_sidecar(said) if said else None
    if claim is None or claim.base.id not in seen.open_bases:
        return seen
    if seen.base != UNKNOWN.id and not seen.by_name:
        return seen
    bases = (claim.base.id,)
    return replace(seen, base=claim.base.id, bases=bases, evidence=(*seen.evidence, claim.text))


def _own_findings(seen: Inspection, bases: Sequence[str] | None) -> Iterable[Finding]:
    """Those of the file; that layers have no place in a base that is not served is no news."""
    if bases is None or seen.base in bases:
        return seen.findings
    return (finding for finding in seen.findings if finding.reason not in _OF_PLACES)


def _judge_base(seen: Inspection, bases: Sequence[str] | None) -> list[Finding]:
    own = seen.base
    if own == UNKNOWN.id:
        return [_unknown_base(seen)]
    if bases is None:
        return []
    if own not in bases:
        facts = {"made_for": _label(own), "running": labels_of(bases)}
        return [Finding(Reason.OTHER_BASE, dict(facts))]
    if own in _READ and seen.scheme not in _READ[own]:
        return [Finding(Reason.UNREAD_NAMING, {"scheme": seen.scheme, "running": _label(own)})]
    return []


def _unknown_base(seen: Inspection) -> Finding:
    if seen.bases == (UNKNOWN.id,):
        return Finding(Reason.UNKNOWN_BASE, {})
    bases = " or ".join(map(_label, seen.bases))
    return Finding(Reason.AMBIGUOUS_BASE, {"bases": bases, "tag": seen.bases[0]})


def _judge_conduct(suspension: Suspension | None) -> list[Finding]:
    if suspension is None:
        return []
    if suspension.layer:
        return [Finding(Reason.FAILED_ON_WORKER, {"layer": clean(suspension.layer, 120)})]
    return [Finding(Reason.SUSPENDED, {"strikes": suspension.strikes})]


def labels_of(bases: Sequence[str]) -> str:
    """These families for people to read."""
    return ", ".join(map(_label, bases))


def _label(base: str) -> str:
    return BASES[base].label if base in BASES else base


def _weigh(findings: list[Finding]) -> Finding | None:
    """The decisive finding: reasons for quarantine take precedence over those for
    incompatibility.
    """
    held = [finding for finding in findings if finding.state is LoraState.QUARANTINED]
    return next(iter((*held, *findings)), None)


def _in_english(verdict: Finding) -> str:
    return verdict.en + (_RELEASE_EN if verdict.releasable else "")


def _in_chinese(verdict: Finding) -> str:
    return verdict.zh + (_RELEASE_ZH if verdict.releasable else "")


def _plain_title(short: str) -> dict[str, str]:
    words = _words(short)
    return {"en": words, "zh": words}


def _words(short: str) -> str:
    words = re.sub(r"[-_]+", " ", short.rpartition("/")[2]).strip()
    return _shown(words[:1].upper() + words[1:].lower() if words.isascii() else words)


def _evidence(
    findings: list[Finding],
    verdict: Finding | None,
    seen: Inspection,
    sidecar: Sidecar,
    note: str | None,
    few: FewSteps | None,
) -> list[str]:
    others = [finding.en for finding in findings if finding is not verdict]
    released = [] if note is None else [f"released in {LOCK_NAME}: {clean(note, 100)}"]
    quick = [] if few is None else [f"a LoRA for few steps ({few.label}): {few.needs}"]
    # Findings that the owner can fix are never cut off.
    mendable = [*quick, *sidecar.complaints][:_MAX_EVIDENCE]
    found = [*seen.evidence, *others, *released]
    return [*found[: _MAX_EVIDENCE - len(mendable)], *mendable]
