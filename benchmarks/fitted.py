"""Writes a fitted scikit-learn pipeline as worker/job/small_network.py reads it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline


def write_network(path: Path, models: Sequence[Pipeline], **rest: object) -> None:
    """The mean of some models that were fitted to the same examples, as one network. Each is a
    StandardScaler followed by a multilayer perceptron with one hidden layer; `rest` goes beside it
    as it is.
    """
    scaler, networks = models[0][0], [model[1] for model in models]
    (first, second), (hidden, last) = (
        list(zip(*(getattr(one, name) for one in networks), strict=True))
        for name in ("coefs_", "intercepts_")
    )
    numbers = {
        "mean": rounded(scaler.mean_),
        "deviation": rounded(scaler.scale_),
        "weights": [rounded(np.hstack(first)), rounded(np.vstack(second) / len(models))],
        "biases": [rounded(np.hstack(hidden)), rounded(np.mean(last, axis=0))],
    }
    path.write_text(json.dumps(numbers | rest) + "\n", "utf-8")
    print(f"wrote {path}")


def rounded(values: npt.ArrayLike) -> Any:
    """Numbers with five digits, arrays as lists."""
    array = np.asarray(values, dtype=np.float64)
    return [rounded(part) for part in array] if array.ndim else float(f"{float(array):.5g}")
