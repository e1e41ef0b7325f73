"""Weights of eight bits with a scale for every output, and layers that compute with them.

A layer keeps its name, its class's behaviour and its parameter `weight`, which is int8; the factor
is the buffer `weight_scale`. For every call the weight is converted to the input's type, one layer
at a time. A merged LoRA puts a floating-point weight in its place. Libraries for quantised weights
(torchao, bitsandbytes) hide them in tensors that can be neither merged nor exchanged.
"""

from typing import Any

import torch
from torch.nn import functional

_LARGEST = 127


class Int8Linear(torch.nn.Linear):
    """A linear layer whose weight may be int8."""

    weight_scale: torch.Tensor
    compute_dtype: torch.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return functional.linear(input, plain_weight(self, input.dtype), self.bias)


class Int8Conv2d(torch.nn.Conv2d):
    """A convolution whose weight may be int8."""

    weight_scale: torch.Tensor
    compute_dtype: torch.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self._conv_forward(input, plain_weight(self, input.dtype), self.bias)
        return output


_QUANTIZED: dict[type[torch.nn.Module], type[Any]] = {
    torch.nn.Linear: Int8Linear,
    torch.nn.Conv2d: Int8Conv2d,
}


def quantize_layer(layer: Any) -> None:
    """Rounds a linear layer's or a convolution's weight to int8 where it is; others stay."""
    kind = _QUANTIZED.get(type(layer))
    if kind is None:
        return
    weight = layer.weight.data
    sides = [-1, *[1] * (weight.dim() - 1)]
    scale = weight.float().flatten(1).abs().amax(1).clamp(min=1e-12) / _LARGEST
    rounded = (weight.float() / scale.view(sides)).round().to(torch.int8)
    layer.__class__ = kind
    layer.compute_dtype = weight.dtype
    layer.weight = torch.nn.Parameter(rounded, requires_grad=False)
    layer.register_buffer("weight_scale", scale, persistent=False)


def is_quantized(layer: Any) -> bool:
    """Whether the layer's own weight is int8 now."""
    return isinstance(layer, (Int8Linear, Int8Conv2d)) and layer.weight.dtype == torch.int8


def plain_weight(layer: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A layer's weight as floating-point numbers, in this type or its own."""
    weight: torch.Tensor = layer.weight.data
    if not is_quantized(layer):
        return weight if dtype is None else weight.to(dtype)
    return from_int8(layer, weight, dtype or layer.compute_dtype)


def from_int8(layer: Any, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """An int8 weight of this layer, wherever it is kept, in floating-point numbers."""
    scale = layer.weight_scale.to(weight.device).view([-1, *[1] * (weight.dim() - 1)])
    plain: torch.Tensor = (weight.to(torch.float32) * scale).to(dtype)
    return plain


def plain_dtype(layer: Any) -> torch.dtype:
    """The type in which the layer computes."""
    dtype: torch.dtype = getattr(layer, "compute_dtype", layer.weight.dtype)
    return dtype
