"""One call of the UNet for several rows: a built engine's, a recording's, or kernel by kernel.

Owns the choice between them, and that columns and gate are part of a recording. Belongs to the
engine's thread.
"""

from collections.abc import Sequence
from typing import Any

import torch

from worker.engine.built.parts import UNET
from worker.engine.built.use import Parts
from worker.engine.lora.merging import AdapterSet
from worker.engine.lora.slots import ColumnPool
from worker.engine.step.graphs import Graphs, Inputs, Record

ADDED = "added."


class Denoiser:
    """Calls one UNet. `record` is None where recordings bring nothing."""

    def __init__(
        self,
        unet: Any,
        columns: ColumnPool,
        autocast: torch.dtype | None,
        record: Record | None,
        parts: Parts,
    ) -> None:
        self._parts = parts
        self._unet = unet
        self._columns = columns
        self._autocast = autocast
        self.graphs = Graphs(self._call, record) if record is not None else None

    def __call__(
        self,
        inputs: Inputs,
        sets: Sequence[AdapterSet],
        weights_are_pristine: bool,
        weights_are_at_home: bool,
    ) -> torch.Tensor:
        """The output for `sample`, `timestep`, `embeddings` and `added.*`, each [evaluations, ...].

        `sets` are the LoRAs of every evaluation. Weights that live elsewhere than those that a
        recording has seen are for launching alone.
        """
        named = dict(inputs)
        gate = self._columns.gate(sets, inputs["sample"])
        is_base = gate is None and weights_are_pristine
        built = self._parts.built(UNET, list(inputs.values()), allowed=is_base)
        if built is not None:
            return built[0]
        if gate is not None:
            named["gate"] = gate
        if self.graphs is None or not weights_are_at_home:
            return self._call(named)
        return self.graphs.run((gate is not None, self._columns.layer_count), named)

    def _call(self, inputs: Inputs) -> torch.Tensor:
        self._columns.open(inputs.get("gate"))
        try:
            return self._output(inputs)
        finally:
            self._columns.open(None)

    def _output(self, inputs: Inputs) -> torch.Tensor:
        sample = inputs["sample"]
        added = {k.removeprefix(ADDED): v for k, v in inputs.items() if k.startswith(ADDED)}
        # Nothing is kept of weights that are exchanged in the middle, when a preview interrupts.
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
