"""From a trained network to the ONNX file that a worker loads."""

import warnings
from pathlib import Path

import torch
from torch import nn

from worker.guards.mark_features import CELL, CHANNELS

OPSET = 17


def export(network: nn.Module, path: Path) -> None:
    """Writes `planes` [1, 9, H, W] -> `cells` [1, 1, H/16, W/16] for any H and W in whole cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, CHANNELS, 4 * CELL, 4 * CELL)
    names = {"planes": {2: "height", 3: "width"}, "cells": {2: "rows", 3: "columns"}}
    with warnings.catch_warnings():
        # The newer exporter needs two more packages and writes the same file.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=["planes"],
            output_names=["cells"],
            dynamic_axes=names,
            opset_version=OPSET,
            dynamo=False,
        )
