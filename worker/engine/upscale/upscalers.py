"""The enlargers of one device: which networks are loaded, and for which pictures.

Owns their residency, the same LRU cache by bytes as for LoRAs. Loading happens in the caller's
thread.
"""

from collections.abc import Callable

import torch

from shared.upscalers.entry import UpscalerEntry
from worker.engine.lora.residency import Residency
from worker.engine.upscale.loading import LoadedUpscaler, load_upscaler

LIMIT_BYTES = 256 * 2**20


class Upscalers:
    """`hold` and `release` come in pairs. `on_load` is called for every newly loaded network."""

    def __init__(
        self, device: torch.device, on_load: Callable[[torch.nn.Module], None] | None = None
    ) -> None:
        self.residency: Residency[LoadedUpscaler] = Residency(LIMIT_BYTES)
        self._device = device
        self._on_load = on_load

    def hold(self, entry: UpscalerEntry) -> LoadedUpscaler:
        """The loaded network, held until `release`. Raises UpscalerChanged, UpscalerCorrupt."""
        return self.residency.pin(entry.sha256, lambda: self._load(entry))

    def release(self, entry: UpscalerEntry) -> None:
        """Ends one hold."""
        self.residency.unpin(entry.sha256)

    def names(self) -> list[str]:
        """The resident networks, for people to read."""
        return [loaded.name for loaded in self.residency.items()]

    def _load(self, entry: UpscalerEntry) -> LoadedUpscaler:
        loaded = load_upscaler(entry, self._device)
        if self._on_load is not None:
            self._on_load(loaded.network)
        return loaded
