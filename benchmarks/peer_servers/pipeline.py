"""The arithmetic that every peer serves: diffusers' pipeline, all LoRAs resident in PEFT.

Groups simultaneous requests by LoRA and makes each group as one batch. Knows nothing of servers.
"""

import base64
import io
import os
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.fidelity import crop_to, pad_to_multiple
from worker.engine.pixels import to_pixels, to_tensor

BASE = str(Path(__file__).parents[2] / "models" / "tiny")
PROMPT, STRENGTH, STEPS = "denoise", 0.4, 10
QUALITY = 90
PRECISION = "auto"  # the worker's default

# The servers' maximum batch size, and how long they wait for it.
BATCH = int(os.environ.get("PEERS_BATCH", "4"))
BATCH_SECONDS = 0.02


@dataclass(frozen=True)
class Wish:
    """A request for one picture: a JPEG, a LoRA's name or "none", a seed."""

    image: bytes
    lora: str
    seed: int

    @classmethod
    def from_json(cls, body: dict[str, object]) -> "Wish":
        return cls(base64.b64decode(str(body["image"])), str(body["lora"]), int(str(body["seed"])))

    def to_json(self) -> dict[str, object]:
        image = base64.b64encode(self.image).decode()
        return {"image": image, "lora": self.lora, "seed": self.seed}


def compute_as_the_worker(loaded: LoadedBase) -> None:
    """The UNet in bfloat16 if the processor is fast at it; the output stays float32.

    diffusers' scheduler would otherwise reduce its own state to the type of its input.
    """
    if loaded.autocast is None:
        return
    unet, quick = loaded.pipeline.unet, torch.autocast(loaded.device.type, loaded.autocast)
    forward = unet.forward

    def called(*given: Any, **named: Any) -> tuple[torch.Tensor]:
        with quick:
            return (forward(*given, **named)[0].float(),)

    unet.forward = called


class Pipeline:
    """A warm base with the LoRAs of a folder loaded side by side."""

    def __init__(self, loras: Path, resident: bool = True) -> None:
        torch.set_grad_enabled(False)
        self._loaded = load_base(BASE, torch.device("cpu"), PRECISION)
        compute_as_the_worker(self._loaded)
        self._pipeline = self._loaded.pipeline
        self._folder = loras
        self._names = [file.stem for file in sorted(loras.glob("*.safetensors"))]
        self._active = "none"
        for name in self._names if resident else []:
            self._load(name)
        if resident and self._names:
            self._pipeline.disable_lora()

    def pictures(self, wishes: Sequence[Wish]) -> list[bytes]:
        """JPEGs in the order of the requests."""
        made: dict[int, bytes] = {}
        order = sorted(range(len(wishes)), key=lambda i: wishes[i].lora)
        for lora, group in groupby(order, key=lambda i: wishes[i].lora):
            indices = list(group)
            self.activate(lora)
            made |= dict(zip(indices, self._batch([wishes[i] for i in indices]), strict=True))
        return [made[i] for i in range(len(wishes))]

    def picture_with_load_and_unload(self, wish: Wish) -> bytes:
        """The LoRA is loaded for this picture alone and dropped after it."""
        if wish.lora == "none":
            return self._batch([wish])[0]
        self._load(wish.lora)
        try:
            return self._batch([wish])[0]
        finally:
            self._pipeline.unload_lora_weights()

    def with_own_scheduler(self) -> "Pipeline":
        """The same model in a pipeline that another thread may run at the same time."""
        scheduler = self._pipeline.scheduler
        own = {"scheduler": type(scheduler).from_config(scheduler.config)}
        view = copy(self)
        view._pipeline = type(self._pipeline)(
            **self._pipeline.components | own, requires_safety_checker=False
        )
        return view

    def _load(self, name: str) -> None:
        self._pipeline.load_lora_weights(
            str(self._folder), weight_name=f"{name}.safetensors", adapter_name=name
        )

    def activate(self, lora: str) -> None:
        """Makes this LoRA the one that applies."""
        if lora == self._active:
            return
        if lora == "none":
            self._pipeline.disable_lora()
        else:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters(lora)
        self._active = lora

    def _batch(self, wishes: list[Wish]) -> list[bytes]:
        pictures = [np.asarray(Image.open(io.BytesIO(w.image)).convert("RGB")) for w in wishes]
        device, dtype = self._loaded.device, self._loaded.dtype
        sources = torch.cat([to_tensor(pixels, device, dtype) for pixels in pictures])
        with torch.inference_mode():
            images = self._pipeline(
                prompt=[PROMPT] * len(wishes),
                image=(pad_to_multiple(sources, 16) + 1) / 2,
                strength=STRENGTH,
                num_inference_steps=STEPS,
                guidance_scale=1.0,
                generator=[torch.Generator("cpu").manual_seed(w.seed) for w in wishes],
                output_type="pt",
            ).images
        cropped = crop_to(images * 2 - 1, sources)
        return [_jpeg(to_pixels(image[None])) for image in cropped]


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # Colour at full resolution, as retouch keeps it: at half, pictures would differ by 38 dB.
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def to_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()
