"""A base as the trainer needs it: pixels to latents and back, prompts to embeddings, noise
prediction, whatever the network itself predicts.

Owns loading and the units of latents. Everything except an adapter on the UNet stays frozen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from torch.nn import functional

from shared.bases import SD15, SD21, SDXL, TINY, identify_base
from worker.training.errors import TrainingError
from worker.training.precision import autocast

FOLD = 2
LATENT_SCALE = 8
# Families whose UNet the trainer knows.
TRAINED = (TINY, SD15, SD21, SDXL)


@dataclass(frozen=True)
class Words:
    """Prompts as the UNet reads them: states [N, tokens, width]; for SDXL a vector [N, w] too."""

    states: torch.Tensor
    pooled: torch.Tensor | None = None

    def added(self, z: torch.Tensor) -> dict[str, torch.Tensor] | None:
        """SDXL's other conditions for latents `z`: the whole picture, in its own size."""
        if self.pooled is None:
            return None
        height, width = (side * LATENT_SCALE for side in z.shape[-2:])
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=z.device)
        return {
            "text_embeds": self.pooled,
            "time_ids": sizes.to(self.pooled.dtype).repeat(len(self.pooled), 1),
        }


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

    @property
    def predicts_velocity(self) -> bool:
        """Whether the UNet predicts v = alpha noise - sigma x (Salimans and Ho 2022,
        arXiv:2202.00512), as SD 2.x at 768 px does.
        """
        return bool(self.scheduler.config.prediction_type == "v_prediction")

    @torch.no_grad()
    def embed(self, prompts: list[str]) -> Words:
        """What the UNet reads of prompts."""
        if hasattr(self.pipeline, "text_encoder_2"):
            states, _, pooled, _ = self.pipeline.encode_prompt(
                prompts, device=self.device, do_classifier_free_guidance=False
            )
            return Words(states, pooled)
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
            max_length=tokenizer.model_max_length,
        )
        return Words(self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0])

    def noise(self, z: torch.Tensor, timestep: Any, words: Words) -> torch.Tensor:
        """The noise that the UNet predicts in `z`, float32; from its velocity, if it predicts
        that.
        """
        output = self.output(z, timestep, words)
        if not self.predicts_velocity:
            return output
        alpha, sigma = self.levels(timestep)
        return alpha * output + sigma * z

    def output(self, z: torch.Tensor, timestep: Any, words: Words) -> torch.Tensor:
        """The UNet's own output, float32."""
        laid_out = z.to(memory_format=torch.channels_last)
        with autocast(self.device, self.bfloat16):
            predicted = self.unet(
                laid_out,
                timestep,
                words.states,
                added_cond_kwargs=words.added(z),
                return_dict=False,
            )[0]
        as_float: torch.Tensor = predicted.float()
        return as_float

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timestep: Any) -> torch.Tensor:
        """What the UNet's output should be for clean latents with this noise."""
        alpha, sigma = self.levels(timestep)
        return alpha * noise - sigma * clean if self.predicts_velocity else noise

    def levels(self, timestep: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Shares of picture and noise at a timestep, or at one for each row [N, 1, 1, 1]."""
        at = torch.as_tensor(timestep, device="cpu").long()
        kept = self.scheduler.alphas_cumprod[at].to(self.device).view(-1, 1, 1, 1)
        return kept.sqrt(), (1 - kept).sqrt()


def load_frozen(base: str, device: torch.device, bfloat16: bool) -> FrozenBase:
    """Loads an SD-class checkpoint for training. Raises TrainingError if it cannot be read, or if
    it is of a family that is not trained here.
    """
    family = identify_base(base)
    if family not in TRAINED:
        known = ", ".join(one.label for one in TRAINED)
        raise TrainingError(
            f"The base {base!r} is {family.label}; LoRAs can be trained for {known}. A hub id has "
            "to be on this machine: `retouch models pull` downloads it."
        )
    options: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
    kind: Any = StableDiffusionImg2ImgPipeline
    if family is SDXL:
        kind, options = StableDiffusionXLImg2ImgPipeline, {}
    try:
        pipeline = kind.from_pretrained(
            base,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=Path(base).is_dir(),
            **options,
        )
    except (OSError, ValueError) as error:
        raise TrainingError(f"The base {base!r} cannot be loaded: {error}") from error
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.to(device)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
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
