"""Finding a LoRA by the name that a caller gives, and saying why when it cannot be had.

Holds one scan's entries and never touches the file system, so a name can be any text at all.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from shared.bases import BASES
from shared.errors import LoraBaseMismatch, LoraNotFound, LoraQuarantined, RetouchError
from shared.loras.entry import LoraEntry, LoraState
from shared.loras.reasons import Reason, clean
from shared.messages import Language
from shared.params import LORA_NAME

_OFFERED = 6
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "unknown": "There is no LoRA named '{name}'. {way_out}",
        "other_base": "'{name}' was made for {made_for}; this service runs {running}. {way_out}",
        "unfit": "'{name}' cannot be used here. {reason} {way_out}",
        "held": "'{name}' is held back. {reason} {way_out}",
        "choose": "Choose one of: {names}.",
        "none": "No LoRA is offered for {running} yet; 'none' runs the base alone.",
    },
    "zh": {
        "unknown": "没有名为“{name}”的 LoRA。{way_out}",
        "other_base": "“{name}”是为 {made_for} 训练的，本服务运行的是 {running}。{way_out}",
        "unfit": "“{name}”在这里用不了：{reason}{way_out}",
        "held": "“{name}”已被隔离：{reason}{way_out}",
        "choose": "可以选择：{names}。",
        "none": "目前没有适用于 {running} 的 LoRA；用 none 可只运行基础模型。",
    },
}
_PREFERENCE = (LoraState.AVAILABLE, LoraState.QUARANTINED, LoraState.INCOMPATIBLE)


class Index:
    """The entries of one scan by full and by short name; never changes."""

    def __init__(self, entries: Iterable[LoraEntry], base: str) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.name))
        self._base = base
        self._by_name: dict[str, list[LoraEntry]] = defaultdict(list)
        for entry in self.entries:
            for name in {entry.name, entry.short_name}:
                self._by_name[name].append(entry)

    def find(self, name: str) -> LoraEntry | None:
        """The entry that `name` means: what can be used first, then the exact name."""
        if not re.fullmatch(LORA_NAME, name):
            return None
        found = self._by_name.get(name, [])
        ranked = sorted(found, key=lambda e: (_PREFERENCE.index(e.state), e.name != name, e.name))
        return next(iter(ranked), None)

    def resolve(self, name: str) -> LoraEntry:
        """The available entry that `name` means.

        Raises LoraNotFound, LoraBaseMismatch or LoraQuarantined with a sentence that names the
        way out.
        """
        entry = self.find(name)
        if entry is None or entry.state is not LoraState.AVAILABLE:
            raise _error_for(entry)(self.explain(name))
        return entry

    def explain(self, name: str, language: Language = "en") -> str:
        """Why `name` cannot be had, and what can."""
        entry = self.find(name)
        shown = clean(name, 64) if entry is None else entry.name
        facts = {"name": shown, "way_out": self._way_out(language), "running": _label(self._base)}
        if entry is not None:
            reason = entry.reason_zh if language == "zh" else entry.reason
            facts |= {"made_for": _label(entry.base), "reason": reason or ""}
        return _WORDS[language][_case(entry)].format_map(facts).strip()

    def _way_out(self, language: Language) -> str:
        usable = [e.short_name for e in self.entries if e.state is LoraState.AVAILABLE]
        names = list(dict.fromkeys(usable))
        words = _WORDS[language]
        if not names:
            return words["none"].format(running=_label(self._base))
        more = ", …" if len(names) > _OFFERED else ""
        return words["choose"].format(names=", ".join(names[:_OFFERED]) + more)


def _case(entry: LoraEntry | None) -> str:
    if entry is None:
        return "unknown"
    if entry.state is LoraState.QUARANTINED:
        return "held"
    return "other_base" if entry.reason_code == Reason.OTHER_BASE else "unfit"


def _error_for(entry: LoraEntry | None) -> type[RetouchError]:
    if entry is None:
        return LoraNotFound
    return LoraQuarantined if entry.state is LoraState.QUARANTINED else LoraBaseMismatch


def _label(base: str) -> str:
    return BASES[base].label if base in BASES else base
