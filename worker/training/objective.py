"""The training objective of a restoring UNet: the clean picture, from the sampler's own states.

Owns the roll-out and the loss. Knows nothing of photos, adapters and optimisers.

A loss on the ideal path from the damaged to the clean picture can fall while the real sampler's
pictures get worse, because the sampler's states contain the network's own errors. The states here
are therefore the sampler's: the first steps run without gradients, the next `horizon` steps with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from worker.training.metrics import GMSD_CONSTANT, LUMA
from worker.training.sampler import Step, advanced, noised, predicted

# SSIM's constants for pixels in [-1, 1], and a flat window, which costs less than a Gaussian one.
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
WINDOW = 7

# Factor that converts differences of pixels in [-1, 1] to grey levels, GMSD's unit.
GREY_LEVELS = 127.5

# Detail fainter than two grey levels is invisible, whatever its size.
FAINT = 2 / GREY_LEVELS

Denoiser = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Stretch:
    """Which executed steps of a run have gradients: `horizon` of them from `first` on."""

    steps: list[Step]
    first: int
    horizon: int

    @property
    def end(self) -> int:
        return min(self.first + self.horizon, len(self.steps))


def rollout_predictions(
    denoise: Denoiser, damaged: torch.Tensor, noise: torch.Tensor, stretch: Stretch
) -> list[torch.Tensor]:
    """The clean latents predicted at each step with gradients.

    `damaged` and `noise` are latents [N, C, h, w]; `denoise(z, timestep)` predicts the noise.
    """
    z = noised(damaged, stretch.steps[0], noise)
    before: torch.Tensor | None = None
    predictions = []
    for index, step in enumerate(stretch.steps[: stretch.end]):
        learning = index >= stretch.first
        with torch.set_grad_enabled(learning):
            x0 = predicted(z, denoise(z, step.timestep), step)
            if learning:
                predictions.append(x0)
            z, before = advanced(z, x0, before, step), x0
    return predictions


def picture_loss(predicted_clean: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The logarithm of each picture's squared error [N]: minus PSNR, scaled.

    Both in [-1, 1] pixels or in latents of that size. As in NAFNet (Chen et al. 2022,
    arXiv:2204.04676): lightly and heavily damaged pictures have equal weight.
    """
    error = ((predicted_clean - clean) / 2).square().mean((1, 2, 3))
    # Above 48 dB, improving one picture is not worth making another one worse.
    return torch.log(error + 1.5e-5)


def structure_loss(predicted_clean: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """1 - SSIM [N] of pixels [N, 3, H, W] in [-1, 1].

    Wang et al. 2004, doi:10.1109/TIP.2003.819861.

    The squared error tolerates faint noise in calm parts, which the eye and SSIM do not.
    """
    mean, mean_clean = _window(predicted_clean), _window(clean)
    spread = _window(predicted_clean.square()) - mean.square()
    spread_clean = _window(clean.square()) - mean_clean.square()
    shared = _window(predicted_clean * clean) - mean * mean_clean
    # Means are of pixels in [-1, 1]; SSIM's luminance term needs values from 0 on.
    light, light_clean = mean + 1, mean_clean + 1
    above = (2 * light * light_clean + C1) * (2 * shared + C2)
    below = (light.square() + light_clean.square() + C1) * (spread + spread_clean + C2)
    return 1 - (above / below).mean((1, 2, 3))


def edge_loss(predicted_clean: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """GMSD [N] of pixels [N, 3, H, W] in [-1, 1] (Xue et al. 2014, doi:10.1109/TIP.2013.2293423).

    Texture that is smoothed away hardly changes the squared error, but it changes the gradients.
    """
    found, wanted = _gradient(predicted_clean), _gradient(clean)
    likeness = (2 * found * wanted + GMSD_CONSTANT) / (
        found.square() + wanted.square() + GMSD_CONSTANT
    )
    # The root's slope at 0 is infinite.
    return (likeness.var((1, 2, 3), correction=0) + 1e-8).sqrt()


def detail_loss(predicted_clean: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The difference in the amount of fine detail from the clean picture's [N], regardless of its
    position.

    The squared error reduces uncertain detail: hair and grass become smooth. Here two frequency
    bands of the luma are compared by their mean energy around every pixel, in the logarithm. Noise
    left in calm parts counts as much as lost texture.
    """
    pairs = zip(_bands(predicted_clean), _bands(clean), strict=True)
    return torch.stack([_energy_difference(*pair) for pair in pairs]).mean(0)


def sharpened(clean: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Pixels [N, 3, H, W] in [-1, 1] with `amount` [N] of their finest detail added."""
    added = amount.view(-1, 1, 1, 1) * (clean - _softened(clean, 1))
    return (clean + added).clamp(-1, 1)


def _energy_difference(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    sizes = [(_window(band.square()) + FAINT**2).log() / 2 for band in (found, wanted)]
    return (sizes[0] - sizes[1]).abs().mean((1, 2, 3))


def _bands(pixels: torch.Tensor) -> list[torch.Tensor]:
    """The luma's finest band and the next coarser one."""
    luma = (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    soft = _softened(luma, 1)
    return [luma - soft, soft - _softened(luma, 3)]


def _softened(pixels: torch.Tensor, times: int) -> torch.Tensor:
    """Smoothed by a binomial window of 3 pixels, `times` times; edges are repeated."""
    count = pixels.shape[1]
    line = pixels.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line[None]).expand(count, 1, 3, 3)
    for _ in range(times):
        padded = torch.nn.functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
        pixels = torch.nn.functional.conv2d(padded, kernel, groups=count)
    return pixels


def _gradient(pixels: torch.Tensor) -> torch.Tensor:
    """Prewitt's gradient magnitude of the luma at half size, for windows that are completely
    inside.
    """
    weights = pixels.new_tensor(LUMA).view(1, 3, 1, 1)
    luma = (pixels * weights).sum(1, keepdim=True) * GREY_LEVELS
    across = pixels.new_tensor([[1.0, 0.0, -1.0]] * 3)[None, None] / 3
    half = torch.nn.functional.avg_pool2d(luma, 2)
    steps = [torch.nn.functional.conv2d(half, k) for k in (across, across.transpose(2, 3))]
    return (steps[0].square() + steps[1].square() + 1e-8).sqrt()


def _window(pixels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(pixels, WINDOW, stride=1)
