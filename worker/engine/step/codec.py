"""Pixels to latents and back, and what the autoencoder loses in between.

Owns the autoencoder's calls, the cache of its outputs for sources, and tiling. A source is encoded
once per size: jobs with another strength, seed or LoRA find its moments in the cache.
"""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch

from worker.engine.base.base_loading import layout_of
from worker.engine.base.offload_slot import OffloadSlot
from worker.engine.base.vae_tiles import tile_vae
from worker.engine.built.parts import DECODER, ENCODER, Decoder, Encoder
from worker.engine.built.use import Parts
from worker.engine.interface import Pixels
from worker.engine.lora.residency import Residency


@dataclass(frozen=True)
class Moments:
    """The encoder's output for a picture: mean and, for a sampling one, deviation [1, C, h, w]."""

    mean: torch.Tensor
    deviation: torch.Tensor | None
    reconstruction: torch.Tensor | None

    @property
    def size_bytes(self) -> int:
        parts = (self.mean, self.deviation, self.reconstruction)
        return sum(part.nbytes for part in parts if part is not None)

    def sample(self, noise: torch.Tensor | None) -> torch.Tensor:
        """One sample of the posterior, computed like diffusers' `DiagonalGaussianDistribution`."""
        if self.deviation is None or noise is None:
            return self.mean
        return self.mean + self.deviation * noise


class Codec:
    """The autoencoder of one pipeline. Belongs to the engine's thread."""

    def __init__(self, pipeline: Any, device: torch.device, cache_bytes: int, parts: Parts) -> None:
        self._vae = pipeline.vae
        self._encoder, self._decoder = Encoder(self._vae), Decoder(self._vae)
        self._parts = parts
        self._is_tiled = False
        self.offload_slot = OffloadSlot([self._vae], device)
        # SDXL's first autoencoder overflows in half precision and says so in its configuration;
        # diffusers assumes the same if the configuration of another family says nothing.
        is_xl = getattr(pipeline, "text_encoder_2", None) is not None
        if is_xl and getattr(self._vae.config, "force_upcast", False):
            self._vae.to(torch.float32)
        self._dtype = self._vae.dtype
        self._layout = layout_of("vae", device)
        self._scaling = float(self._vae.config.scaling_factor)
        self._cache: Residency[Moments] = Residency(cache_bytes)

    def moments(
        self, sources: Mapping[str, torch.Tensor], faithful: bool, changes: Hashable = ()
    ) -> dict[str, Moments]:
        """The encoder's output for each source [1, 3, H, W] in -1..1, all of one size, by its name;
        with D(E(x)) if requested. Equal names mean equal pixels. `changes` are the LoRAs that are
        in the encoder now.
        """
        keys = {
            name: (name, tuple(source.shape), faithful, changes) for name, source in sources.items()
        }
        cached = set(self._cache.keys())
        known = [name for name, key in keys.items() if key in cached]
        new = [name for name, key in keys.items() if key not in cached]
        with ExitStack() as held:

            def hold(name: str, fresh: Moments | None = None) -> Moments:
                found = self._cache.pin(keys[name], lambda: _required(fresh))
                held.callback(self._cache.unpin, keys[name])
                return found

            # Known entries are held before new ones can evict them from the cache.
            found = {name: hold(name) for name in known}
            batch = self._encode([sources[name] for name in new], faithful, changes) if new else []
            return found | {name: hold(name, one) for name, one in zip(new, batch, strict=True)}

    def unkept(
        self, sources: Mapping[str, torch.Tensor], faithful: bool, changes: Hashable = ()
    ) -> dict[str, Moments]:
        """The same without the cache, for inputs that would fill it and hardly recur."""
        encoded = self._encode(list(sources.values()), faithful, changes)
        return dict(zip(sources, encoded, strict=True))

    def latents(self, moments: Moments, noise: torch.Tensor | None) -> torch.Tensor:
        """Scaled latents, the UNet's input; `noise` provides random numbers if the encoder
        samples.
        """
        return moments.sample(noise) * self._scaling

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[N, C, h, w] scaled latents to [N, 3, H, W] in -1..1."""
        return self._decode_raw(latents / self._scaling)

    def forget(self) -> int:
        """Clears the cache; returns the number of bytes freed."""
        return self._cache.drop_unused()

    def tile(self, enabled: bool) -> bool:
        """Switches tiling on or off; False if the autoencoder does not support it."""
        if not tile_vae(self._vae, enabled):
            return False
        self._is_tiled = enabled
        return True

    def _encode(
        self, sources: Sequence[torch.Tensor], faithful: bool, changes: Hashable
    ) -> list[Moments]:
        joined = torch.cat(list(sources))
        encoded = self._computed(ENCODER, self._encoder, joined, is_base=not changes)
        mean, deviation = encoded[0], encoded[1] if len(encoded) > 1 else None
        reconstruction = self._decode_raw(mean) if faithful else None
        parts = (mean, deviation, reconstruction)
        return [Moments(*(_row(part, i) for part in parts)) for i in range(len(sources))]  # type: ignore[arg-type]

    def _decode_raw(self, latents: torch.Tensor) -> torch.Tensor:
        return self._computed(DECODER, self._decoder, latents)[0]

    def _computed(
        self, part: str, usual: torch.nn.Module, tensor: torch.Tensor, is_base: bool = True
    ) -> tuple[torch.Tensor, ...]:
        tensor = tensor.to(self._dtype).contiguous(memory_format=self._layout)
        # Tiles save memory, and an engine built for the whole picture would not.
        allowed = is_base and not self._is_tiled
        output = self._parts.built(part, [tensor], allowed=allowed)
        if output is not None:
            return output
        with self.offload_slot.present(), self._parts.usual(part):
            return usual(tensor)  # type: ignore[no-any-return]


def _required(moments: Moments | None) -> Moments:
    assert moments is not None
    return moments


def _row(batch: torch.Tensor | None, index: int) -> torch.Tensor | None:
    """One row of a batch, copied, so that it does not keep the others in memory."""
    if batch is None or batch.shape[0] == 1:
        return batch
    return batch[index : index + 1].clone()


def source_key(pixels: Pixels) -> str:
    """An id of a picture's content."""
    return sha256(pixels.tobytes()).hexdigest()
