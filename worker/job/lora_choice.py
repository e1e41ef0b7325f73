"""Settles what a job leaves open: its LoRAs, by the measured damage, and its defaults.

Owns the order of decisions. worker/job/damage.py owns how damage is measured.
"""

from shared.base_defaults import BaseDefaults
from shared.bases import BASES
from shared.defaults import with_defaults
from shared.errors import LoraChanged, LoraNotFound
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from shared.params import JobParams, LoraMode, LoraRef
from worker.engine.interface import Pixels
from worker.job.damage import choose

NO_DEFAULTS = BaseDefaults()


class BelongsElsewhere(Exception):
    """Raised when another base has the LoRA that treats a photo; with the job's new parameters."""

    def __init__(self, base: str, params: JobParams) -> None:
        super().__init__(base)
        self.base = base
        self.params = params


Chosen = tuple[tuple[LoraEntry, float], ...]


class Chooser:
    """Turns a job's parameters into complete ones, with the catalogue's entries to apply."""

    def __init__(self, catalog: Catalog, base: str, defaults: BaseDefaults = NO_DEFAULTS) -> None:
        self._catalog = catalog
        self._base = defaults.applied_to(BASES[base])

    def settle(self, params: JobParams, pixels: Pixels) -> tuple[JobParams, Chosen]:
        """Settles the parameters. Raises BelongsElsewhere, LoraNotFound, LoraChanged and the
        catalogue's errors about a name.
        """
        if params.lora_mode is LoraMode.AUTO and not params.loras:
            params = self._by_damage(params, pixels)
        chosen = tuple((self._entry(ref), ref.scale) for ref in params.loras)
        return with_defaults(params, [entry for entry, _ in chosen], self._base), chosen

    def _entry(self, ref: LoraRef) -> LoraEntry:
        try:
            entry = self._catalog.resolve(ref.name)
        except LoraNotFound as error:
            raise LoraChanged(f"'{ref.name}' was removed while the job waited") from error
        if ref.sha256 is not None and entry.sha256 != ref.sha256:
            raise LoraChanged(f"'{ref.name}' was replaced while the job waited")
        return entry

    def _by_damage(self, params: JobParams, pixels: Pixels) -> JobParams:
        choice = choose(pixels, self._catalog.entries(), params.elsewhere)
        refs = [
            LoraRef(name=entry.name, scale=scale, sha256=entry.sha256)
            for entry, scale in choice.loras
        ]
        if choice.elsewhere is not None:
            refs = [choice.elsewhere.lora]
        update: dict[str, object] = {
            "loras": refs,
            "lora_reason": _together(params.lora_reason, choice.reason["en"]),
            "lora_reason_zh": _together(params.lora_reason_zh, choice.reason["zh"]),
        }
        if params.strength is None and choice.strength is not None:
            update["strength"] = choice.strength
        if choice.elsewhere is not None:
            base = choice.elsewhere.base
            update |= {"base": base, "elsewhere": []}
            raise BelongsElsewhere(base, params.model_copy(update=update))
        if params.pyramid is None:
            update["pyramid"] = choice.levels
        return params.model_copy(update=update)


def _together(note: str | None, reason: str) -> str:
    return f"{reason} {note}" if note else reason
