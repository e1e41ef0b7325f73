"""A base as the trainer needs it: pixels to latents and back, prompts to embeddings, noise
prediction.

Owns loading and the units of latents. Everything except an adapter on the UNet stays frozen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionImg2ImgPipeline
from torch.nn import functional

from worker.training.errors import TrainingError
from worker.training.precision import autocast

FOLD = 2


@dataclass
class FrozenBase:
    """The parts of one SD-class checkpoint on one device.

    `latent_unit` is the size of a latent for a pixel of size 1; errors of latents are divided by it
    so that losses are comparable between bases. `folds`: its latents are pixels, folded 2x2.
    """

    pipeline: Any
    device: torch.device
    bfloat16: bool
    latent_unit: float = 1.0
    folds: bool = False

    @property
    def unet(self) -> Any:
        return self.pipeline.unet

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    @property
    def scheduler(self) -> Any:
        return self.pipeline.scheduler

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in -1..1 to scaled latents, float32."""
        encoded = self.vae.encode(pixels.to(self.device, self.vae.dtype))
        raw = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        scaled: torch.Tensor = raw.float() * self.vae.config.scaling_factor
        return scaled

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents to [N, 3, H, W] in about -1..1; gradients pass through."""
        raw = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        pixels: torch.Tensor = self.vae.decode(raw).sample.float()
        return pixels

    def unfold(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels [N, 3, H, W] in about -1..1 for a base that folds, without a decoder."""
        return functional.pixel_shuffle(latents.contiguous(), FOLD) / self.latent_unit

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> torch.Tensor:
        """Prompts to the text encoder's states [N, tokens, width]."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
            max_length=tokenizer.model_max_length,
        )
        states: torch.Tensor = self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0]
        return states

    def noise(self, z: torch.Tensor, timestep: Any, embeddings: torch.Tensor) -> torch.Tensor:
        """The noise that the UNet predicts in `z`, float32."""
        laid_out = z.to(memory_format=torch.channels_last)
        with autocast(self.device, self.bfloat16):
            predicted = self.unet(laid_out, timestep, embeddings, return_dict=False)[0]
        as_float: torch.Tensor = predicted.float()
        return as_float


def load_frozen(base: str, device: torch.device, bfloat16: bool) -> FrozenBase:
    """Loads an SD-class checkpoint for training. Raises TrainingError if it cannot be read."""
    try:
        pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
            base,
            dtype=torch.float32,
            safety_checker=None,
            requires_safety_checker=False,
            use_safetensors=True,
            local_files_only=Path(base).is_dir(),
        )
    except (OSError, ValueError) as error:
        raise TrainingError(f"The base {base!r} cannot be loaded: {error}") from error
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.to(device)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    frozen = FrozenBase(pipeline, device, bfloat16)
    _measure(frozen)
    return frozen


def _measure(base: FrozenBase) -> None:
    """Determines the size of latents and whether they are folded pixels, from a fixed smooth
    picture.
    """
    coarse = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = functional.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(-1, 1)
    latents = base.encode(pixels).cpu()
    base.latent_unit = float(latents.std() / pixels.std())
    folded = functional.pixel_unshuffle(pixels, FOLD) * base.latent_unit
    base.folds = folded.shape == latents.shape and torch.allclose(
        folded, latents, atol=0.02 * base.latent_unit
    )
