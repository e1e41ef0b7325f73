"""Identifies a base's weights by a sample of their values.

Equal for the same checkpoint as a folder and as one file, in single and in half precision, on every
device: the values are compared as they are in half precision.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch

from worker.engine.lora.lora_file import PARTS

TENSORS = 96
VALUES = 128


def fingerprint_of(pipeline: Any) -> str:
    """A hexadecimal digest, with a prefix for bfloat16, in which the values are others."""
    digest, kinds = hashlib.sha256(), set[torch.dtype]()
    for name, weight in _sample(pipeline):
        kinds.add(weight.dtype)
        values = weight[:1].reshape(-1)[:VALUES].to("cpu", torch.float32).to(torch.float16)
        digest.update(name.encode() + values.numpy().tobytes())
    prefix = "bf16-" if torch.bfloat16 in kinds else ""
    return prefix + digest.hexdigest()[:32]


def _sample(pipeline: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Some tensors of every part, evenly spread over their names."""
    for part in (*PARTS, "transformer", "vae"):
        module = getattr(pipeline, part, None)
        if not isinstance(module, torch.nn.Module):
            continue
        named = sorted(module.named_parameters())
        for name, weight in named[:: max(1, len(named) // TENSORS)]:
            if weight.device.type != "meta" and weight.dim() > 0:
                yield f"{part}.{name}", weight.detach()
