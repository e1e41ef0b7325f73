"""The facts about a checkpoint that are known before its weights are read."""

from dataclasses import dataclass


class BadCheckpoint(ValueError):
    """Raised when a checkpoint cannot be served; the text says why and what to do next."""


@dataclass(frozen=True)
class CheckpointFacts:
    """The facts that decide a checkpoint's family and whether it can be served.

    `pipeline` is the class named in its index ("" for a single file). Channels and widths are those
    of the UNet: `in_channels` of its first convolution, `cross_attention_width` of the text
    embeddings that it reads; None if the checkpoint has no UNet. `has_guidance_embedding` is
    whether guidance is an input of the network (latent consistency models). `has_latent_mean` is
    whether latents are shifted by a mean (EDM models). `is_lora` is whether the file is a LoRA, not
    a base. `other` says which other model it is and what to do, worded to follow "it is"; empty for
    a base.
    """

    pipeline: str = ""
    in_channels: int | None = None
    cross_attention_width: int | None = None
    has_guidance_embedding: bool = False
    has_latent_mean: bool = False
    is_lora: bool = False
    other: str = ""
    missing: tuple[str, ...] = ()
