"""Super-resolution networks: RRDBNet, SRVGGNetCompact, and our own.

Pure torch modules. Pictures are [N, 3, H, W] in 0..1, of any size; the output is `factor` times as
large and not clipped. Names of parameters are those of the published files, so that a file's
tensors load unchanged. Knows nothing of files, tiles and jobs.

Sources: RRDBNet is ESRGAN's generator (Wang et al. 2018, arXiv:1809.00219) in Real-ESRGAN's version
(Wang et al. 2021, arXiv:2107.10833), which folds the input 2x2 or 4x4 into channels for factors 2
and 1; SRVGGNetCompact is Real-ESRGAN's small network.
"""

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

RRDB_SLOPE = 0.2
RESIDUAL_SCALE = 0.2
RRDB_SCALE = 4
COMPACT_SLOPE = 0.1
# A window on the input, in pixels: structures coarser than this keep their tone.
TONES = 15


class Enlarger(Protocol):
    """A network; `factors` are those that it was made for, in ascending order."""

    factors: tuple[int, ...]

    def __call__(self, pictures: torch.Tensor, factor: int) -> torch.Tensor: ...


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for number in range(4):
            inputs = width + number * growth
            setattr(self, f"conv{number + 1}", _conv(inputs, growth))
        self.conv5 = _conv(width + 4 * growth, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x
        for number in range(1, 5):
            found = functional.leaky_relu(getattr(self, f"conv{number}")(seen), RRDB_SLOPE)
            seen = torch.cat((seen, found), 1)
        out: torch.Tensor = x + RESIDUAL_SCALE * self.conv5(seen)
        return out


class ResidualDenseBlock(nn.Module):
    """Three dense blocks with a residual connection."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(width, growth)
        self.rdb2 = DenseBlock(width, growth)
        self.rdb3 = DenseBlock(width, growth)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(x)))
        return out


class RRDBNet(nn.Module):
    """`fold` is 1, 2 or 4: the input is folded by it (pixel unshuffle), which divides the scale.

    `ups` doublings follow the trunk: two in Real-ESRGAN's, one to three in ESRGAN's own.
    """

    def __init__(self, width: int, growth: int, blocks: int, ups: int = 2, fold: int = 1) -> None:
        super().__init__()
        self.factors = (2**ups // fold,)
        self._fold = fold
        self._ups = ups
        self.conv_first = _conv(3 * fold * fold, width)
        self.body = nn.Sequential(*(ResidualDenseBlock(width, growth) for _ in range(blocks)))
        self.conv_body = _conv(width, width)
        for number in range(ups):
            setattr(self, f"conv_up{number + 1}", _conv(width, width))
        self.conv_hr = _conv(width, width)
        self.conv_last = _conv(width, 3)

    def forward(self, pictures: torch.Tensor, factor: int) -> torch.Tensor:
        height, width = (side * factor for side in pictures.shape[2:])
        first = self.conv_first(folded(pictures, self._fold))
        x = first + self.conv_body(self.body(first))
        for number in range(self._ups):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = functional.leaky_relu(getattr(self, f"conv_up{number + 1}")(x), RRDB_SLOPE)
        drawn: torch.Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(x), RRDB_SLOPE))
        return drawn[..., :height, :width]


class SRVGGNetCompact(nn.Module):
    """Plain convolutions at the input's size; their output is added to nearest-neighbour
    enlargement.
    """

    def __init__(self, width: int, convolutions: int, factor: int) -> None:
        super().__init__()
        self.factors = (factor,)
        layers: list[nn.Module] = [_conv(3, width), nn.PReLU(width)]
        for _ in range(convolutions):
            layers += [_conv(width, width), nn.PReLU(width)]
        layers.append(_conv(width, 3 * factor * factor))
        self.body = nn.Sequential(*layers)

    def forward(self, pictures: torch.Tensor, factor: int) -> torch.Tensor:
        return functional.pixel_shuffle(self.body(pictures), factor) + nearest(pictures, factor)


class ResidualBlock(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.conv2 = _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.conv2(functional.leaky_relu(self.conv1(x), COMPACT_SLOPE))
        return out


class FoldedNet(nn.Module):
    """Ours: a trunk at half the input's size, refinement at the input's size, and a tail for each
    factor.

    A CPU computes wide convolutions on few pixels twice as fast as narrow ones on many, and one
    trunk serves all factors.
    """

    FOLD = 2

    def __init__(self, width: int, blocks: int, fine: int, factors: tuple[int, ...]) -> None:
        super().__init__()
        self.factors = factors
        self.first = _conv(3 * self.FOLD**2, width)
        self.trunk = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.unfold = _conv(width, fine * self.FOLD**2)
        self.direct = _conv(3, fine)
        self.refine = _conv(fine, fine)
        self.tails = nn.ModuleDict({str(f): _conv(fine, 3 * f * f) for f in factors})

    def forward(self, pictures: torch.Tensor, factor: int) -> torch.Tensor:
        return self._drawn(self.features(pictures), pictures, factor)

    def enlarge_all(self, pictures: torch.Tensor) -> dict[int, torch.Tensor]:
        """Every factor from one pass through the trunk."""
        fine = self.features(pictures)
        return {factor: self._drawn(fine, pictures, factor) for factor in self.factors}

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """The input of the tails, [N, fine, H, W]."""
        height, width = pictures.shape[2:]
        first = functional.leaky_relu(self.first(folded(pictures, self.FOLD)), COMPACT_SLOPE)
        unfolded = functional.pixel_shuffle(self.unfold(first + self.trunk(first)), self.FOLD)
        fine = functional.leaky_relu(
            unfolded[..., :height, :width] + self.direct(pictures), COMPACT_SLOPE
        )
        return functional.leaky_relu(self.refine(fine), COMPACT_SLOPE)

    def _drawn(self, fine: torch.Tensor, pictures: torch.Tensor, factor: int) -> torch.Tensor:
        drawn = functional.pixel_shuffle(self.tails[str(factor)](fine), factor)
        return drawn - _tones(drawn, factor) + nearest(pictures, factor)


def folded(pictures: torch.Tensor, times: int) -> torch.Tensor:
    """Blocks of `times` x `times` pixels as channels; incomplete blocks are padded by mirroring."""
    if times == 1:
        return pictures
    height, width = pictures.shape[2:]
    pad = (0, -width % times, 0, -height % times)
    if any(pad):
        mode = "reflect" if pad[1] < width and pad[3] < height else "replicate"
        pictures = functional.pad(pictures, pad, mode)
    return functional.pixel_unshuffle(pictures, times)


def _tones(drawn: torch.Tensor, factor: int) -> torch.Tensor:
    """The change of tone that added detail makes over an area, to be removed: the photo's tones
    must stay.
    """
    means = functional.avg_pool2d(drawn, factor)
    wide = functional.avg_pool2d(means, TONES, 1, TONES // 2, count_include_pad=False)
    return functional.interpolate(wide, scale_factor=factor, mode="bilinear")


def nearest(pictures: torch.Tensor, factor: int) -> torch.Tensor:
    return functional.interpolate(pictures, scale_factor=factor, mode="nearest")


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
