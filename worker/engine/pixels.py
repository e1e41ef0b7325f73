"""Converts between 8-bit pictures and the models' tensors."""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from worker.engine.interface import Pixels

# Of the small picture shown before the finished one.
PREVIEW_SIDE = 128


def to_tensor(pixels: Pixels, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """uint8 HWC to [1, 3, H, W] in -1..1."""
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    return tensor.to(device, dtype) / 127.5 - 1


def to_pixels(tensor: torch.Tensor) -> Pixels:
    """[1, 3, H, W] in -1..1 to uint8 HWC."""
    return np.asarray(_levels(tensor).round().to(torch.uint8).cpu().numpy())


def to_levels(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """The same before rounding, for pixels that are still to be blended."""
    return np.asarray(_levels(tensor).cpu().numpy())


def _levels(tensor: torch.Tensor) -> torch.Tensor:
    return ((tensor[0].float().clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0)


def sized(pixels: Pixels, height: int, width: int) -> Pixels:
    """The picture at exactly this size."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def in_colours_of(source: Pixels, made: Pixels) -> Pixels:
    """The result of a grey picture is grey: all three colours equal the luma, to the bit."""
    if not is_grey(source):
        return made
    luma = np.asarray(Image.fromarray(made).convert("L"))
    return np.repeat(luma[..., None], 3, axis=2)


def is_grey(pixels: Pixels) -> bool:
    """Whether all three colours are equal in every pixel."""
    return bool((pixels == pixels[..., :1]).all())


def scaled_to_side(pixels: Pixels, side: int) -> Pixels:
    """The picture with its longer side at most `side`, aspect ratio kept."""
    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
