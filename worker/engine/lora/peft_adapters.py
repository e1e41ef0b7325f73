"""LoRAs on a warm pipeline: loaded once, activated for a job, deactivated after it.

Owns which adapters are resident. Belongs to the engine's thread: no other thread may call it. An
adapter is named by its file's sha256, so that a replaced file is a new adapter.
"""

import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from shared.errors import LoraChanged, LoraCorrupt
from shared.loras.checked_read import read_checked
from shared.loras.entry import LoraEntry

logger = structlog.get_logger(__name__)

PREFIX = "lora_"
Wanted = Sequence[tuple[LoraEntry, float]]


class AdapterPool:
    """The adapters in one pipeline, least recently used first."""

    def __init__(self, pipeline: Any, slots: int) -> None:
        self._pipeline = pipeline
        self._slots = slots
        self._resident: OrderedDict[str, str] = OrderedDict()

    @contextmanager
    def active(self, wanted: Wanted) -> Iterator[None]:
        """Applies exactly these LoRAs; afterwards the base is as it was.

        Raises LoraCorrupt if a file's weights do not fit, LoraChanged if it was replaced.
        """
        try:
            names = [self._ensure(entry, wanted) for entry, _ in wanted]
            if names:
                self._pipeline.enable_lora()
                self._pipeline.set_adapters(names, [scale for _, scale in wanted])
            yield
        finally:
            # Loading an adapter activates it, so this also applies to a job that failed there.
            if self._resident:
                self._pipeline.disable_lora()

    def residents(self) -> list[str]:
        """Catalogue names of the loaded adapters, least recently used first."""
        return list(self._resident.values())

    def digests(self) -> list[str]:
        """The loaded adapters by the beginning of their SHA-256."""
        return [name.removeprefix(PREFIX) for name in self._resident]

    def _ensure(self, entry: LoraEntry, wanted: Wanted) -> str:
        name = adapter_name(entry)
        if name not in self._resident:
            self._load(entry, name)
        self._resident[name] = entry.name
        self._resident.move_to_end(name)
        self._evict({adapter_name(other) for other, _ in wanted})
        return name

    def _load(self, entry: LoraEntry, name: str) -> None:
        started = time.perf_counter()
        try:
            read_checked(entry)
            self._read(entry, name)
            read_checked(entry)
        except LoraChanged:
            self._forget_half_loaded(name)
            raise
        except Exception as error:
            self._forget_half_loaded(name)
            raise LoraCorrupt(f"'{entry.name}' cannot be loaded") from error
        if not self._is_loaded(name):
            raise LoraCorrupt(f"'{entry.name}' has no weights for this base")
        seconds = round(time.perf_counter() - started, 3)
        logger.info("adapter loaded", lora=entry.name, seconds=seconds)

    def _read(self, entry: LoraEntry, name: str) -> None:
        try:
            with warnings.catch_warnings():
                # The loader only warns about keys without a place; here that is an error.
                warnings.filterwarnings("error", message=".*inconsistency.*")
                # Holding several adapters on one base is the purpose of this pool.
                warnings.filterwarnings("ignore", message=".*Already found a `peft_config`.*")
                self._pipeline.load_lora_weights(
                    str(entry.path.parent), weight_name=entry.path.name, adapter_name=name
                )
        except FileNotFoundError as error:
            raise LoraChanged(f"'{entry.name}' was removed") from error

    def _evict(self, pinned: set[str]) -> None:
        while len(self._resident) > max(self._slots, len(pinned)):
            victim = next(name for name in self._resident if name not in pinned)
            self._delete(victim)
            logger.info("adapter evicted", lora=self._resident.pop(victim))

    def _forget_half_loaded(self, name: str) -> None:
        if self._is_loaded(name):
            self._delete(name)

    def _delete(self, name: str) -> None:
        with warnings.catch_warnings():
            # Every job sets the active adapters itself.
            warnings.filterwarnings("ignore", message=".*was active which is now deleted.*")
            self._pipeline.delete_adapters(name)

    def _is_loaded(self, name: str) -> bool:
        adapters: dict[str, list[str]] = self._pipeline.get_list_adapters()
        return any(name in names for names in adapters.values())


def adapter_name(entry: LoraEntry) -> str:
    """A module name for PEFT, which does not allow dots."""
    return f"{PREFIX}{entry.weights_id[:16]}"
