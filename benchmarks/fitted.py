"""Writes a fitted scikit-learn pipeline as worker/job/small_network.py reads it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline


def write_network(path: Path, model: Pipeline, **rest: object) -> None:
    """`model` is a StandardScaler followed by a multilayer perceptron; `rest` goes beside it as it
    is.
    """
    scaler, network = model[0], model[1]
    numbers = {
        "mean": rounded(scaler.mean_),
        "deviation": rounded(scaler.scale_),
        "weights": [rounded(layer) for layer in network.coefs_],
        "biases": [rounded(layer) for layer in network.intercepts_],
    }
    path.write_text(json.dumps(numbers | rest) + "\n", "utf-8")
    print(f"wrote {path}")


def rounded(values: npt.ArrayLike) -> Any:
    """Numbers with five digits, arrays as lists."""
    array = np.asarray(values, dtype=np.float64)
    return [rounded(part) for part in array] if array.ndim else float(f"{float(array):.5g}")
