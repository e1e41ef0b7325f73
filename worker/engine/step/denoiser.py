"""One call of the UNet for several rows: by a TensorRT engine, a CUDA graph, or eagerly.

Owns the choice between them, and passes LoRA slots and gate as inputs of a graph. Belongs to the
engine's thread.
"""

from collections.abc import Sequence
from typing import Any

import torch

from worker.engine.built.parts import UNET
from worker.engine.built.use import Parts
from worker.engine.lora.merging import AdapterSet
from worker.engine.lora.slots import SlotPool
from worker.engine.step.graphs import Capture, Graphs, Inputs

ADDED = "added."


class Denoiser:
    """Calls one UNet. `capture` is None if CUDA graphs are not used."""

    def __init__(
        self,
        unet: Any,
        slots: SlotPool,
        autocast: torch.dtype | None,
        capture: Capture | None,
        parts: Parts,
    ) -> None:
        self._parts = parts
        self._unet = unet
        self._slots = slots
        self._autocast = autocast
        self.graphs = Graphs(self._call, capture, parts) if capture is not None else None

    def __call__(
        self,
        inputs: Inputs,
        sets: Sequence[AdapterSet],
        weights_are_pristine: bool,
        weights_are_at_home: bool,
    ) -> torch.Tensor:
        """The output for `sample`, `timestep`, `embeddings` and `added.*`, each [evaluations, ...].

        `sets` are the LoRAs of every evaluation. A graph reads weights at the addresses of its
        capture; weights elsewhere (`weights_are_at_home` is False) run eagerly.
        """
        named = dict(inputs)
        gate = self._slots.gate(sets, inputs["sample"])
        is_base = gate is None and weights_are_pristine
        built = self._parts.built(UNET, list(inputs.values()), allowed=is_base)
        if built is not None:
            return built[0]
        if gate is not None:
            named["gate"] = gate
        with self._parts.usual(UNET):
            if self.graphs is None or not weights_are_at_home:
                return self._call(named)
            return self.graphs.run((gate is not None, self._slots.layer_count), named)

    def _call(self, inputs: Inputs) -> torch.Tensor:
        self._slots.open(inputs.get("gate"))
        try:
            return self._output(inputs)
        finally:
            self._slots.open(None)

    def _output(self, inputs: Inputs) -> torch.Tensor:
        sample = inputs["sample"]
        added = {k.removeprefix(ADDED): v for k, v in inputs.items() if k.startswith(ADDED)}
        # Nothing is cached while weights are exchanged in the middle, when a preview interrupts.
        with torch.autocast(
            sample.device.type,
            self._autocast,
            enabled=self._autocast is not None,
            cache_enabled=False,
        ):
            output: torch.Tensor = self._unet(
                sample,
                inputs["timestep"],
                encoder_hidden_states=inputs["embeddings"],
                added_cond_kwargs=added or None,
                return_dict=False,
            )[0]
        return output
