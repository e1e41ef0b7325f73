"""Writes what scikit-learn fitted as worker/job/small_network.py and small_forest.py read it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeRegressor

from worker.job.small_forest import LEAF

# What a leaf says is worth no more; a tree's threshold needs all five.
DIGITS, LEAF_DIGITS = 5, 3


def write_network(path: Path, model: Pipeline, **rest: object) -> None:
    """A StandardScaler followed by a multilayer perceptron; `rest` goes beside it as it is."""
    scaler, network = model[0], model[1]
    numbers = {
        "mean": rounded(scaler.mean_),
        "deviation": rounded(scaler.scale_),
        "weights": [rounded(layer) for layer in network.coefs_],
        "biases": [rounded(layer) for layer in network.intercepts_],
    }
    _write(path, numbers | rest)


def write_forest(path: Path, model: ExtraTreesRegressor, **rest: object) -> None:
    """A forest with several outputs; `rest` goes beside it as it is."""
    _write(path, {**rest, "trees": [_tree(one) for one in model.estimators_]})


def _tree(fitted: DecisionTreeRegressor) -> dict[str, Any]:
    tree = fitted.tree_
    is_leaf = tree.children_left == LEAF
    row = np.cumsum(is_leaf) - 1
    return {
        "measure": np.where(is_leaf, LEAF, tree.feature).tolist(),
        "at": rounded(np.where(is_leaf, 0.0, tree.threshold)),
        "below": np.where(is_leaf, row, tree.children_left).tolist(),
        "above": np.where(is_leaf, row, tree.children_right).tolist(),
        "outputs": rounded(tree.value[is_leaf, :, 0], LEAF_DIGITS),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", "utf-8")
    print(f"wrote {path}")


def rounded(values: npt.ArrayLike, digits: int = DIGITS) -> Any:
    """Numbers with so many digits, arrays as lists."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim:
        return [rounded(part, digits) for part in array]
    return float(f"{float(array):.{digits}g}")
