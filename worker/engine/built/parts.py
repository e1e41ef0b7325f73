"""The parts of a pipeline that can be compiled, each as a module from tensors to tensors.

Owns the order of inputs and outputs. Inputs are those that engine and prompt encoder pass at run
time, so that an engine is built for the shapes and types that it will see.
"""

from collections.abc import Sequence
from typing import Any

import torch

UNET = "unet"
ENCODER = "vae_encoder"
DECODER = "vae_decoder"
TEXTS = ("text_encoder", "text_encoder_2")


class Unet(torch.nn.Module):
    """Latents [E, C, h, w], timesteps [E], embeddings [E, tokens, width] and the inputs named in
    `added`, to the UNet's output.
    """

    def __init__(self, unet: torch.nn.Module, added: Sequence[str] = ()) -> None:
        super().__init__()
        self.unet = unet
        self.added = tuple(added)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        embeddings: torch.Tensor,
        *added: torch.Tensor,
    ) -> tuple[torch.Tensor]:
        conditions = dict(zip(self.added, added, strict=True))
        return self.unet(  # type: ignore[no-any-return]
            sample,
            timestep,
            encoder_hidden_states=embeddings,
            added_cond_kwargs=conditions or None,
            return_dict=False,
        )


class Encoder(torch.nn.Module):
    """A picture [N, 3, H, W] in -1..1 to the posterior's mean and, if it samples, deviation."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        encoded = self.vae.encode(picture)
        if hasattr(encoded, "latents"):
            return (encoded.latents,)
        return encoded.latent_dist.mode(), encoded.latent_dist.std


class Decoder(torch.nn.Module):
    """Latents [N, C, h, w] without scaling to a picture [N, 3, H, W]."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.vae.decode(latents).sample,)


class Text(torch.nn.Module):
    """Token ids [1, tokens] to the encoder's first output and the hidden states before its last.

    diffusers' `encode_prompt` uses only these two for SD 1.x, SD 2.x and SDXL.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.encoder(ids, output_hidden_states=True)
        return output[0], output.hidden_states[-2]
