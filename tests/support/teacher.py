"""A stand-in for the large enlarger that small networks learn from."""

import torch


class Nearest:
    """A teacher that needs no weights."""

    factors = (4,)

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, pictures: torch.Tensor, factor: int) -> torch.Tensor:
        self.asked += 1
        return torch.nn.functional.interpolate(pictures, scale_factor=factor)
