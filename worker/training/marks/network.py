"""The watermark network: for every cell of 16 pixels it predicts whether a mark is there.

Owns its architecture: 0.2 million weights, so that it is fast on one CPU thread.
"""

import torch
from torch import nn

from worker.guards.mark_features import CHANNELS

WIDTHS = (32, 56, 88)
BLOCKS = (1, 2, 3)


class Block(nn.Module):
    """A depthwise convolution and two pointwise ones, with a residual connection."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.body(x)
        return result


def build_network() -> nn.Sequential:
    """From float32 [N, 9, H, W] to logits [N, 1, H/16, W/16]; H and W are whole cells."""
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS, WIDTHS[0], 4, stride=4), nn.ReLU(inplace=True)]
    for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
        if stage:
            before = WIDTHS[stage - 1]
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)]
        layers += [Block(width, dilation=1 + index % 2) for index in range(count)]
    layers += [nn.ReLU(inplace=True), nn.Conv2d(WIDTHS[-1], 1, 1)]
    return nn.Sequential(*layers)
