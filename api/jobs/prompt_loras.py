"""LoRAs that a caller names in the prompt, as in AUTOMATIC1111: used if they exist.

The job's `lora_reason` says what was done with them. shared/loras/prompt_tags.py owns the syntax.
"""

from math import isfinite

from api.jobs.job_form import scale_problems, too_many_loras
from api.wire.errors import InvalidFields
from api.wire.sentence import Sentence
from shared.errors import LoraBaseMismatch, LoraNotFound, LoraQuarantined
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from shared.loras.prompt_tags import Tag, take_tags
from shared.loras.reasons import clean
from shared.messages import Language
from shared.params import LARGEST_SCALE, JobParams, LoraMode, LoraRef
from shared.settings import Settings

_SHOWN = 8


class PromptLoras:
    """Takes the LoRAs out of prompts."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings

    def take(
        self, params: JobParams, entries: list[LoraEntry], language: Language, base: str
    ) -> tuple[JobParams, list[LoraEntry]]:
        """Returns the parameters with the LoRAs named in the prompt that fit this family, and all
        their entries. Raises InvalidFields if the limits of the deployment are exceeded.
        """
        prompt, tags = take_tags(params.prompt or "")
        if not tags:
            return params, entries
        allowed = params.lora_mode is not LoraMode.NONE
        found = [(tag, self._usable(tag.name, base) if allowed else None) for tag in tags]
        known = {entry.path for entry in entries}
        taken = {e.path: (tag, e) for tag, e in found if e is not None and e.path not in known}
        refs = [_ref(tag, entry) for tag, entry in taken.values()]
        self._check([*params.loras, *refs], refs, language)
        note = _note(refs, [tag.name for tag, entry in found if entry is None])
        update: dict[str, object] = {
            "prompt": prompt or None,
            "loras": [*params.loras, *refs],
            "lora_mode": LoraMode.NAMED if refs else params.lora_mode,
            "lora_reason": str(note) or None,
            "lora_reason_zh": note.zh or None,
        }
        return params.model_copy(update=update), [*entries, *(e for _, e in taken.values())]

    def _usable(self, name: str, base: str) -> LoraEntry | None:
        try:
            return self._catalog.resolve(name, base)
        except (LoraNotFound, LoraBaseMismatch, LoraQuarantined):
            return None

    def _check(self, every: list[LoraRef], tagged: list[LoraRef], language: Language) -> None:
        problems = [
            problem
            for ref in tagged
            for problem in scale_problems(ref.scale, ("prompt",), self._settings, language)
        ]
        if len(every) > self._settings.max_loras:
            problems.append(too_many_loras(self._settings, language))
        if problems:
            raise InvalidFields(problems)


def _ref(tag: Tag, entry: LoraEntry) -> LoraRef:
    scale = entry.default_scale if tag.scale is None else tag.scale
    scale = max(-LARGEST_SCALE, min(LARGEST_SCALE, scale)) if isfinite(scale) else 1.0
    return LoraRef(name=entry.name, scale=scale, sha256=entry.sha256)


def _note(taken: list[LoraRef], left: list[str]) -> Sentence:
    english, chinese = list[str](), list[str]()
    if taken:
        names = ", ".join(f"{ref.name} ({ref.scale:g})" for ref in taken)
        english.append(f"Taken from the prompt: {names}.")
        chinese.append(f"取自提示词：{names}。")
    if left:
        names = ", ".join(clean(name, 64) for name in left[:_SHOWN])
        english.append(f"The prompt names LoRAs that are not used: {names}.")
        chinese.append(f"提示词中提到但未使用的 LoRA：{names}。")
    return Sentence(" ".join(english), "".join(chinese))
