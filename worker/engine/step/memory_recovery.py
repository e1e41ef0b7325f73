"""What the step engine can give up when memory runs out, and how it restores it."""

from worker.engine.base.profiles import OFFLOADING, TILING
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.residency import Residency
from worker.engine.step.units import Units
from worker.engine.upscale.upscalers import Upscalers


class MemoryRecovery:
    """The steps of the ladder for one pipeline."""

    def __init__(
        self,
        units: Units,
        adapters: Residency[AdapterWeights],
        upscalers: Upscalers,
        profile: str,
    ) -> None:
        self._units = units
        self._adapters = adapters
        self._upscalers = upscalers
        self._tiles = profile in TILING
        self._offloads = profile in OFFLOADING
        self.restore()

    def evict_adapters(self) -> bool:
        """Drops every merged LoRA, enlarger, cached source, CUDA graph and built engine that no job
        uses, and on a CPU, where they share the memory, the loaded LoRAs.
        """
        graphs = self._units.denoiser.graphs
        caches = [
            self._units.merger.drop_unused,
            self._upscalers.residency.drop_unused,
            self._units.codec.forget,
            graphs.forget if graphs is not None else lambda: 0,
            self._units.parts.forget,
        ]
        if self._units.is_on_cpu:
            caches.append(self._adapters.drop_unused)
        return sum(drop() for drop in caches) > 0

    def tile(self) -> bool:
        """Switches to decoding in tiles."""
        return not self._tiles and self._units.codec.tile(True)

    def offload(self) -> bool:
        """Keeps autoencoder and text encoders off the device while they are not used."""
        offloaded = [
            self._units.codec.offload_slot.offload(),
            self._units.prompts.offload_slot.offload(),
        ]
        return any(offloaded)

    def restore(self) -> None:
        """Returns to the profile's state, and clears sources that were encoded in tiles.

        Raises torch.OutOfMemoryError if parts in main memory do not fit on the device any more;
        then nothing else has changed.
        """
        for offload_slot in (self._units.codec.offload_slot, self._units.prompts.offload_slot):
            if self._offloads:
                offload_slot.offload()
            else:
                offload_slot.restore()
        self._units.codec.forget()
        self._units.codec.tile(self._tiles)
