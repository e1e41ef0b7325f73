"""A small forest of regression trees over a photo's measures, read from a JSON file.

Owns its form: `trees`, of which each lists its nodes' `measure`, `at`, `below` and `above`, and the
`outputs` of its leaves. The calibrations in benchmarks/ fit and write it (benchmarks/fitted.py).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.job.small_network import Floats

LEAF = -1


@dataclass(frozen=True)
class Tree:
    """Node 0 is the root. A node asks whether the measure of this number is at most `at`, and goes
    on at `below`, else at `above`; one whose measure is LEAF ends in row `below` of `outputs`.
    """

    measure: NDArray[np.int64]
    at: Floats
    below: NDArray[np.int64]
    above: NDArray[np.int64]
    outputs: Floats

    def output(self, measures: Floats) -> Floats:
        """The leaf's values for raw measures [N]."""
        node = 0
        while self.measure[node] != LEAF:
            is_below = measures[self.measure[node]] <= self.at[node]
            node = int((self.below if is_below else self.above)[node])
        return np.asarray(self.outputs[self.below[node]])


@dataclass(frozen=True)
class SmallForest:
    """Some trees whose mean counts. `rest` is what else the file holds."""

    trees: list[Tree]
    rest: dict[str, Any]

    def outputs(self, measures: Floats) -> Floats:
        """The mean of the trees' values for raw measures [N]."""
        return np.asarray(np.mean([tree.output(measures) for tree in self.trees], axis=0))


def read_forest(path: Path) -> SmallForest:
    """Reads what a calibration wrote."""
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    trees = [
        Tree(**{name: np.array(values) for name, values in tree.items()})
        for tree in stored.pop("trees")
    ]
    return SmallForest(trees, stored)
