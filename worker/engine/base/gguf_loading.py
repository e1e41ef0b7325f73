"""Loads a transformer from a GGUF file, in the original's or diffusers' names of tensors.

The weights stay quantised; diffusers converts each layer when it is used. Only what is no linear
layer's weight is converted once, here.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.folder import read_config
from shared.checkpoints.gguf import PART


def load_gguf(folder: Path, file: Path, dtype: torch.dtype) -> Any:
    """The transformer of a folder whose weights are in this file. Raises BadCheckpoint."""
    try:
        network = _load(folder, file, dtype)
    except NotImplementedError as error:  # torch's, for a weight that is still without memory
        raise BadCheckpoint(
            f"'{file.name}' is not of the network in {PART}/config.json: weights are missing in it"
        ) from error
    except Exception as error:  # the conversion raises errors of many kinds for other networks
        raise BadCheckpoint(
            f"'{file.name}' does not fit {PART}/config.json, or is damaged: {error!r}"
        ) from error
    _convert_others(network, dtype)
    return network


def is_gguf(network: Any) -> bool:
    """Whether the network has weights of a GGUF file."""
    return network is not None and any(_is_packed(weight) for weight in network.parameters())


def _is_packed(weight: torch.Tensor) -> bool:
    # The class is in a module that cannot be imported without the package `gguf`.
    return type(weight).__name__ == "GGUFParameter"


def _load(folder: Path, file: Path, dtype: torch.dtype) -> Any:
    kind = getattr(diffusers, str(read_config(folder / PART / "config.json").get("_class_name")))
    return kind.from_single_file(
        str(file),
        config=str(folder),
        subfolder=PART,
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        dtype=dtype,
        local_files_only=True,
    )


def _convert_others(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Converts packed tensors that only a linear layer could use as they are."""
    from diffusers.quantizers.gguf.utils import GGUFLinear, dequantize_gguf_tensor

    for layer in network.modules():
        for name, weight in list(layer.named_parameters(recurse=False)):
            if _is_packed(weight) and not (isinstance(layer, GGUFLinear) and name == "weight"):
                plain = dequantize_gguf_tensor(weight).to(dtype)
                setattr(layer, name, torch.nn.Parameter(plain, requires_grad=False))
