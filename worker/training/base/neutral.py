"""Makes a restoring UNet neutral, and keeps the removed part as the LoRA from which others start.

Owns the arithmetic of the last convolution. LoRAs need a base that leaves a photo unchanged, but
with the features of a UNet that can restore: so only the output convolution changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from worker.training.adapter import adapter_state, add_adapter

PATCH = 3


@dataclass(frozen=True)
class NoisyBatch:
    """The UNet's input, and the noise [N, C, h, w] that it should predict."""

    z: torch.Tensor
    timestep: int
    embeddings: torch.Tensor
    noise: torch.Tensor


@torch.no_grad()
def neutralise(unet: Any, batches: Iterable[NoisyBatch]) -> torch.Tensor:
    """Refits the output convolution to the noise alone, by least squares over `batches`.

    Returns the old weight minus the new one, [C, F, 3, 3]: the change that restores.
    """
    before = unet.conv_out.weight.detach().clone()
    seen: list[torch.Tensor] = []
    hook = unet.conv_out.register_forward_pre_hook(lambda _m, given: seen.append(given[0].float()))
    width = before.shape[1] * PATCH**2
    features = torch.zeros(width, width, dtype=torch.float64)
    products = torch.zeros(width, before.shape[0], dtype=torch.float64)
    for batch in batches:
        unet(batch.z, batch.timestep, batch.embeddings)
        rows = torch.nn.functional.unfold(seen.pop(), PATCH, padding=1)
        rows = rows.transpose(1, 2).flatten(0, 1).double()
        features += rows.T @ rows
        products += rows.T @ batch.noise.flatten(2).transpose(1, 2).flatten(0, 1).double()
    hook.remove()
    ridge = 1e-3 * features.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    solved = torch.linalg.solve(features + ridge, products)
    unet.conv_out.weight.copy_(solved.T.reshape(before.shape))
    unet.conv_out.bias.zero_()
    change: torch.Tensor = before - unet.conv_out.weight
    return change


def start_adapter(unet: Any, change: torch.Tensor, rank: int) -> dict[str, torch.Tensor]:
    """Adds a LoRA to `unet` that equals `change` on the output convolution and zero elsewhere.

    `rank` must be at least the number of output channels. Returns the adapter's tensors.
    """
    add_adapter(unet, rank, convolutions=True)
    state = adapter_state(unet)
    left, sizes, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
    count, root = len(sizes), sizes.sqrt()
    down, up = state["conv_out.lora_A.weight"], state["conv_out.lora_B.weight"]
    down[:count] = (root[:, None] * right).view(count, *change.shape[1:])
    up.zero_()
    up[:, :count, 0, 0] = left * root
    return state
