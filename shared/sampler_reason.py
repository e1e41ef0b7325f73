"""Why a job runs with its sampler, in words: what its LoRAs need, and what is not applied.

Owns the messages. shared/defaults.py chooses the sampler.
"""

from collections.abc import Sequence

from shared.loras.entry import LoraEntry
from shared.params import Sampler

_WORDS = {
    "own": (
        "The settings file of '{lora}' says {sampler}.",
        "“{lora}”的设置文件指定 {sampler}。",
    ),
    "few": (
        "'{lora}' is a LoRA for few steps ({label}), made for {sampler}, {steps} steps{guidance}.",
        "“{lora}”是少步数 LoRA（{label}），适用于 {sampler}、{steps} 步{guidance}。",
    ),
    "no_choice": (
        "This base has a sampler of its own; {sampler} has no effect.",
        "该基础模型使用自己的采样器，{sampler} 不起作用。",
    ),
    "other": ("The job runs with {sampler}.", "本任务使用 {sampler}。"),
}
_GUIDANCE = (", guidance {:g}", "、引导强度 {:g}")


def explain_sampler(entries: Sequence[LoraEntry], sampler: Sampler | None) -> dict[str, str | None]:
    """The fields of a job's parameters with the reason; None if no LoRA needs a sampler."""
    wishes = [(entry, wish) for entry in entries if (wish := wish_of(entry)) is not None]
    if not wishes:
        return {}
    has_other = any(wish != sampler for _, wish in wishes)
    said = [_sentences(entry) for entry, _ in wishes]
    if has_other:
        said.append(_filled("other", {"sampler": sampler}))
    english, chinese = zip(*said, strict=True)
    return {"sampler_reason": " ".join(english), "sampler_reason_zh": "".join(chinese)}


def explain_no_choice(sampler: Sampler | None) -> dict[str, str | None]:
    """The same for a base whose sampler cannot be chosen, if one was requested."""
    if sampler is None:
        return {}
    english, chinese = _filled("no_choice", {"sampler": sampler})
    return {"sampler_reason": english, "sampler_reason_zh": chinese}


def wish_of(entry: LoraEntry) -> Sampler | None:
    """The sampler in a LoRA's settings file, or the one that its family needs."""
    return entry.sampler or (entry.few_steps.sampler if entry.few_steps else None)


def _sentences(entry: LoraEntry) -> tuple[str, str]:
    facts: dict[str, object] = {"lora": entry.short_name}
    if entry.sampler is not None or entry.few_steps is None:
        return _filled("own", facts | {"sampler": entry.sampler})
    few = entry.few_steps
    facts |= {"label": few.label, "sampler": few.sampler, "steps": few.steps}
    return _filled("few", facts, few.guidance_scale)


def _filled(which: str, facts: dict[str, object], guidance: float | None = None) -> tuple[str, str]:
    english, chinese = (
        words.format_map(facts | {"guidance": "" if guidance is None else said.format(guidance)})
        for words, said in zip(_WORDS[which], _GUIDANCE, strict=True)
    )
    return english, chinese
