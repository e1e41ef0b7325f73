"""A small fully connected network over a photo's measures, read from a JSON file.

Owns its form: `mean`, `deviation`, `weights` and `biases`. The calibrations in benchmarks/ fit and
write it (benchmarks/fitted.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SmallNetwork:
    """ReLU between layers, none after the last. `rest` is what else the file holds."""

    mean: Floats
    deviation: Floats
    weights: list[Floats]
    biases: list[Floats]
    rest: dict[str, Any]

    def standardised(self, measures: Floats) -> Floats:
        """The measures at mean 0 and deviation 1 over the calibration's examples."""
        return np.asarray((measures - self.mean) / self.deviation)

    def outputs(self, measures: Floats) -> Floats:
        """The last layer's values for raw measures [N]."""
        layer = self.standardised(measures)
        for weights, biases in zip(self.weights[:-1], self.biases[:-1], strict=True):
            layer = np.maximum(layer @ weights + biases, 0)
        return np.asarray(layer @ self.weights[-1] + self.biases[-1])


def read_network(path: Path) -> SmallNetwork:
    """Reads what a calibration wrote."""
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return SmallNetwork(
        mean=np.array(stored.pop("mean")),
        deviation=np.array(stored.pop("deviation")),
        weights=[np.array(layer) for layer in stored.pop("weights")],
        biases=[np.array(layer) for layer in stored.pop("biases")],
        rest=stored,
    )
