"""Encodes prompts for the UNet's attention, cached by text and by the LoRAs in the text encoders.

Owns the cache. The pipeline's own `encode_prompt` does the encoding.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from worker.engine.base.offload_slot import OffloadSlot
from worker.engine.built.parts import TEXTS
from worker.engine.built.use import Parts
from worker.engine.built.words import built_words

KEPT = 256


@dataclass(frozen=True)
class Condition:
    """The conditioning of one row: embeddings [1 or 2, tokens, width], negative first under
    guidance.

    `added` holds SDXL's additional inputs, each [1 or 2, ...] in the same order.
    """

    embeddings: torch.Tensor
    added: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        """UNet evaluations per step of this row: two under guidance."""
        return int(self.embeddings.shape[0])

    def at(self, index: int) -> "Condition":
        """That of one evaluation."""
        added = {name: tensor[index : index + 1] for name, tensor in self.added.items()}
        return Condition(self.embeddings[index : index + 1], added)


class PromptEncoder:
    """Encodes for one pipeline. Belongs to the engine's thread."""

    def __init__(self, pipeline: Any, device: torch.device, parts: Parts) -> None:
        self._pipeline = pipeline
        self._parts = parts
        self._device = device
        encoders = [getattr(pipeline, name, None) for name in TEXTS]
        self._is_xl = encoders[1] is not None
        self.offload_slot = OffloadSlot(
            [encoder for encoder in encoders if encoder is not None], device, in_turn=True
        )
        self._kept: OrderedDict[tuple[object, ...], Condition] = OrderedDict()

    def condition(
        self,
        prompt: str,
        negative_prompt: str,
        guided: bool,
        adapters: tuple[object, ...],
        size: tuple[int, int],
        changed: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Condition:
        """The conditioning of a row; `size` is the picture's (width, height) in pixels. Unless
        cached, it is computed inside `changed`, which puts the adapters into the encoders.
        """
        negative = negative_prompt if guided else ""
        key = (prompt, negative, guided, adapters, size if self._is_xl else ())
        if key not in self._kept:
            with changed(), built_words(self._pipeline, self._parts, allowed=not adapters):
                self._kept[key] = self._encode(prompt, negative_prompt, guided, size)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _encode(
        self, prompt: str, negative_prompt: str, guided: bool, size: tuple[int, int]
    ) -> Condition:
        with self.offload_slot.present():
            answer = self._pipeline.encode_prompt(
                prompt=prompt,
                device=self._device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=guided,
                negative_prompt=negative_prompt or None,
            )
        embeddings = _stacked(answer[0], answer[1], guided)
        if not self._is_xl:
            return Condition(embeddings)
        pooled = _stacked(answer[2], answer[3], guided)
        time_ids = self._time_ids(guided, size, pooled)
        return Condition(embeddings, {"text_embeds": pooled, "time_ids": time_ids})

    def _time_ids(self, guided: bool, size: tuple[int, int], pooled: torch.Tensor) -> torch.Tensor:
        """SDXL's sizes: original, crop and target, each that of the whole picture."""
        whole = (size[1], size[0])
        config = getattr(self._pipeline.text_encoder_2.config, "projection_dim", None)
        positive, negative = self._pipeline._get_add_time_ids(
            whole,
            (0, 0),
            whole,
            6.0,
            2.5,
            whole,
            (0, 0),
            whole,
            dtype=pooled.dtype,
            text_encoder_projection_dim=config or int(pooled.shape[-1]),
        )
        return _stacked(positive, negative, guided).to(self._device)


def _stacked(positive: torch.Tensor, negative: torch.Tensor, guided: bool) -> torch.Tensor:
    return torch.cat([negative, positive]) if guided else positive
