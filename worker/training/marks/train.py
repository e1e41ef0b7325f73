"""The training of the watermark network; a killed run continues where it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from worker.guards.mark_features import TOP_CELLS
from worker.training.checkpoint import load_checkpoint, save_checkpoint
from worker.training.marks.examples import Example, Examples
from worker.training.marks.network import build_network
from worker.training.marks.recipe import MarksRecipe

KEEP_EVERY = 50
WEIGHT_DECAY = 1e-3
# The first and the last part of the steps, in which the learning rate rises and falls.
WARM_SHARE, COOL_SHARE = 0.05, 0.35
# In use only the score of the whole picture counts; the cells teach where to look.
PICTURE_SHARE = 0.5

Tell = Callable[[int, float], None]


def train(recipe: MarksRecipe, examples: Examples, work: Path, tell: Tell) -> nn.Module:
    """Trains for the recipe's steps; returns the network in evaluation mode."""
    torch.manual_seed(recipe.seed)
    network = build_network()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    first = _resume(work / "checkpoint.pt", network, optimizer)
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate_at(step / recipe.steps)
        loss = _loss(network, [examples.draw() for _ in range(recipe.batch)])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        tell(step + 1, loss.item())
        if (step + 1) % KEEP_EVERY == 0:
            _keep(work / "checkpoint.pt", step + 1, network, optimizer)
    network.eval()
    return network


def rate_at(share: float) -> float:
    """The fraction of the recipe's learning rate at this share of the steps: rising, constant,
    falling to 0.
    """
    return min(1.0, (share + 0.001) / WARM_SHARE, (1 - share) / COOL_SHARE)


def _loss(network: nn.Module, batch: list[Example]) -> torch.Tensor:
    planes = torch.from_numpy(np.stack([example.planes for example in batch]))
    logits = network(planes.contiguous(memory_format=torch.channels_last))[:, 0]
    cells = torch.from_numpy(np.stack([example.cells for example in batch])).float()
    asked = cells >= 0
    by_cell = functional.binary_cross_entropy_with_logits(logits[asked], cells[asked])
    marked = torch.tensor([float(example.is_marked) for example in batch])
    top = logits.flatten(1).topk(TOP_CELLS, dim=1).values.mean(1)
    # A picture with only very faint marks is ignored.
    sure = torch.tensor([example.is_marked or not (example.cells < 0).any() for example in batch])
    by_picture = functional.binary_cross_entropy_with_logits(top[sure], marked[sure])
    return by_cell + PICTURE_SHARE * by_picture


def _resume(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    state = load_checkpoint(path)
    if state is None:
        return 0
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _keep(path: Path, step: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    parts = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(path, {"step": step, **parts})
