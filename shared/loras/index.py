"""Finds a LoRA by the name that a caller gives, and says why if it is not available.

Holds one scan's entries and never touches the file system, so a name can be any text at all.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

from shared.bases import BASES
from shared.errors import LoraBaseMismatch, LoraNotFound, LoraQuarantined, RetouchError
from shared.loras.assembly import labels_of
from shared.loras.entry import LoraEntry, LoraState
from shared.loras.folder import FOREIGN_SUFFIXES as _FOREIGN
from shared.loras.reasons import Reason, clean
from shared.messages import Language
from shared.params import MAX_NAME_CHARACTERS

_OFFERED = 6
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "unknown": "There is no LoRA named '{name}'. {way_out}",
        "several": "Several LoRAs are called '{name}': {names}. Say which.",
        "other_base": "'{name}' was made for {made_for}; this service runs {running}. {way_out}",
        "unfit": "'{name}' cannot be used here. {reason} {way_out}",
        "held": "'{name}' is quarantined. {reason} {way_out}",
        "choose": "Choose one of: {names}.",
        "none": "No LoRA is offered for {running} yet; 'none' runs the base alone.",
    },
    "zh": {
        "unknown": "没有名为“{name}”的 LoRA。{way_out}",
        "several": "有多个 LoRA 名为“{name}”：{names}。请指明是哪一个。",
        "other_base": "“{name}”是为 {made_for} 训练的，本服务运行的是 {running}。{way_out}",
        "unfit": "“{name}”在这里用不了：{reason}{way_out}",
        "held": "“{name}”已被隔离：{reason}{way_out}",
        "choose": "可以选择：{names}。",
        "none": "目前没有适用于 {running} 的 LoRA；用 none 可只运行基础模型。",
    },
}
_PREFERENCE = (LoraState.AVAILABLE, LoraState.QUARANTINED, LoraState.INCOMPATIBLE)


class Index:
    """The entries of one scan by full and by short name; immutable."""

    def __init__(self, entries: Iterable[LoraEntry], bases: Sequence[str]) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.name))
        self._bases = tuple(bases)
        self._by_name: dict[str, list[LoraEntry]] = defaultdict(list)
        for entry in self.entries:
            for name in {entry.name, entry.short_name, *_bare_names(entry)}:
                self._by_name[name].append(entry)

    def find(self, name: str, base: str | None = None) -> LoraEntry | None:
        """The entry that `name` means: usable entries first (of this family, if one is given), then
        the exact name, then an entry of that name in any folder, if it is the only one.
        """
        ranked = self._ranked(name, base)
        return ranked[0] if ranked and not _are_several(ranked, name, base) else None

    def _ranked(self, name: str, base: str | None) -> list[LoraEntry]:
        known = unicodedata.normalize("NFC", name[: 4 * MAX_NAME_CHARACTERS]).strip()
        found = self._by_name.get(known, []) if len(name) <= 4 * MAX_NAME_CHARACTERS else []

        def rank(entry: LoraEntry) -> tuple[bool, int, int, int, str]:
            far, own = _distance(entry, known)
            held = _PREFERENCE.index(entry.state)
            return not _is_usable(entry, base), held, far, self._family_order(entry), own

        return sorted(found, key=rank)

    def _family_order(self, entry: LoraEntry) -> int:
        """The deployment's default family first."""
        bases = self._bases
        return bases.index(entry.base) if entry.base in bases else len(bases)

    def resolve(self, name: str, base: str | None = None) -> LoraEntry:
        """The available entry that `name` means, of this family if one is given.

        Raises LoraNotFound, LoraBaseMismatch or LoraQuarantined with advice in the message.
        """
        entry = self.find(name, base)
        if entry is None or not _is_usable(entry, base):
            raise _error_for(entry)(self.explain(name, base=base))
        return entry

    def explain(self, name: str, language: Language = "en", base: str | None = None) -> str:
        """Why `name` is not available, and what is."""
        entry = self.find(name, base)
        shown = clean(name, 64) if entry is None else entry.name
        ranked = self._ranked(name, base)
        if entry is None and ranked:
            full = ", ".join(one.name for one in ranked[:_OFFERED])
            return _WORDS[language]["several"].format(name=shown, names=full)
        running = _label(base) if base else labels_of(self._bases)
        facts = {"name": shown, "way_out": self._way_out(language, base), "running": running}
        if entry is not None:
            reason = entry.reason_zh if language == "zh" else entry.reason
            facts |= {"made_for": _label(entry.base), "reason": reason or ""}
        return _WORDS[language][_case(entry)].format_map(facts).strip()

    def _way_out(self, language: Language, base: str | None) -> str:
        usable = [e.short_name for e in self.entries if _is_usable(e, base)]
        names = list(dict.fromkeys(usable))
        words = _WORDS[language]
        if not names:
            return words["none"].format(running=_label(base) if base else labels_of(self._bases))
        more = ", …" if len(names) > _OFFERED else ""
        return words["choose"].format(names=", ".join(names[:_OFFERED]) + more)


def _bare_names(entry: LoraEntry) -> set[str]:
    """The names of a file without its folder, or without its other extension."""
    names = {entry.name.rpartition("/")[2], entry.short_name.rpartition("/")[2]}
    return names | {name.rpartition(".")[0] for name in names if name.lower().endswith(_FOREIGN)}


def _is_usable(entry: LoraEntry, base: str | None) -> bool:
    return entry.state is LoraState.AVAILABLE and base in (None, entry.base)


def _distance(entry: LoraEntry, name: str) -> tuple[int, str]:
    """How far a name is from an entry's names: the full one, the short one, the one without
    folders.
    """
    names = (entry.name, entry.short_name)
    return (names.index(name) if name in names else len(names)), entry.name


def _are_several(ranked: list[LoraEntry], name: str, base: str | None) -> bool:
    """Whether a name without folders matches several files equally well."""
    first = ranked[0]
    if not _is_usable(first, base) or _distance(first, name)[0] < 2:
        return False
    usable = [entry for entry in ranked if _is_usable(entry, base)]
    return len({entry.sha256 for entry in usable}) > 1


def _case(entry: LoraEntry | None) -> str:
    if entry is None:
        return "unknown"
    if entry.state is LoraState.QUARANTINED:
        return "held"
    is_of_another = entry.reason_code == Reason.OTHER_BASE or entry.state is LoraState.AVAILABLE
    return "other_base" if is_of_another else "unfit"


def _error_for(entry: LoraEntry | None) -> type[RetouchError]:
    if entry is None:
        return LoraNotFound
    return LoraQuarantined if entry.state is LoraState.QUARANTINED else LoraBaseMismatch


def _label(base: str) -> str:
    return BASES[base].label if base in BASES else base
