"""A worker's processing of one picture, without ledger, files and processes.

Owns the steps from pixels and a request to pixels: the worker's own chooser and step engine.
Results are stored on disk, by picture, weights and settings, so that an interrupted run can be
continued.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shared.loras.catalog import Catalog
from shared.loras.entry import Damage, LoraState
from shared.params import JobParams, LoraMode, LoraRef
from shared.settings import REPOSITORY
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import OURS
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EnlargeJob, Pixels, StopFlag
from worker.engine.step.step_engine import StepEngine
from worker.job.attempt import engine_job
from worker.job.enlarging import Enlargements, Plan, fitted
from worker.job.lora_choice import Chooser, Chosen
from worker.job.pyramid import prepared

_WAY = {
    "strength",
    "steps",
    "guidance_scale",
    "prompt",
    "negative_prompt",
    "fidelity",
    "seed",
    "pyramid",
}


class Restorer:
    """The warm engine of the embedded base."""

    def __init__(self, base: Path, loras: Path, kept: Path) -> None:
        loaded = load_base(str(base), torch.device("cpu"))
        self._engine = StepEngine(loaded, choose_limits(loaded))
        catalog = Catalog(loras, "tiny")
        catalog.scan()
        self._catalog = catalog
        self._chooser = Chooser(catalog, "tiny")
        upscalers = UpscalerCatalog(REPOSITORY / "upscalers")
        upscalers.scan()
        self._enlargements = Enlargements(upscalers, "tiny", "cpu")
        known = (entry.sha256 for entry in upscalers.entries() if entry.name == OURS)
        self._enlarger = next(known, "")
        self._base = _digest(*(path.read_bytes() for path in sorted(base.rglob("*.safetensors"))))
        self._kept = kept
        kept.mkdir(parents=True, exist_ok=True)

    def enhance(
        self, pixels: Pixels, lora: str, strength: float | None = None, levels: int | None = None
    ) -> Pixels:
        """One picture with `lora`: `auto`, `none`, or a LoRA's name."""
        params, chosen = self._settled(pixels, lora, strength, levels)
        key = self._key(pixels, params, chosen)
        return self._stored(key, lambda: self.make(pixels, params, chosen))

    def names(self) -> list[str]:
        """Short names of the LoRAs that can be used."""
        return sorted(
            entry.short_name
            for entry in self._catalog.entries()
            if entry.state is LoraState.AVAILABLE
        )

    def sha256(self, lora: str) -> str:
        return self._catalog.resolve(lora).sha256

    def weights(self, lora: str) -> str:
        """Digests of all weights that make this LoRA's pictures, beside the base's."""
        entry = self._catalog.resolve(lora)
        return entry.sha256 if entry.shrink == 1 else f"{entry.sha256} {self._enlarger}"

    def shrink(self, lora: str) -> float:
        """The share of a photo's size at which this LoRA works."""
        return self._catalog.resolve(lora).shrink

    def treats(self, lora: str) -> list[Damage]:
        """The kinds of damage that this LoRA is for."""
        return self._catalog.resolve(lora).treats

    def made_with(self, pixels: Pixels, lora: str, strength: float, levels: int) -> Pixels:
        """One picture in this way, kept nowhere."""
        return self.make(pixels, *self._settled(pixels, lora, strength, levels))

    def reason(self, pixels: Pixels) -> str:
        """Why `auto` chooses what it chooses, and the strength."""
        params, _ = self._settled(pixels, "auto")
        return f"{params.lora_reason} ({params.strength:g}, {params.pyramid})"

    def unenlarged(self, pixels: Pixels, lora: str, strength: float | None = None) -> Pixels:
        """What the base and its LoRA make, at the size at which they work; guards see this."""
        params, chosen = self._settled(pixels, lora, strength)
        is_whole = all(entry.shrink == 1 for entry, _ in chosen)
        key = self._key(pixels, params, chosen) + ("" if is_whole else ".made")
        return self._stored(key, lambda: self._treated(pixels, params, chosen)[0])

    def _stored(self, key: str, make: Callable[[], Pixels]) -> Pixels:
        """The picture from the disk if it was made before."""
        path = self._kept / f"{key}.png"
        if not path.exists():
            Image.fromarray(make()).save(path, compress_level=1)
        with Image.open(path) as opened:
            return np.asarray(opened)

    def make(self, pixels: Pixels, params: JobParams, chosen: Chosen) -> Pixels:
        """One picture, kept nowhere."""
        made, plan = self._treated(pixels, params, chosen)
        if plan.entry is None:
            return made
        job = EnlargeJob(made, plan.times, plan.entry)
        return fitted(self._engine.enlarge(job, lambda _event: None).result().pixels, plan.size)

    def _treated(self, pixels: Pixels, params: JobParams, chosen: Chosen) -> tuple[Pixels, Plan]:
        """The picture before it is enlarged, and the plan for that."""

        def treat(level: Pixels) -> Pixels:
            job = engine_job(level, params, chosen, StopFlag())
            return self._engine.submit(job, lambda _event: None).result().pixels

        plan = self._enlargements.plan(params, pixels, chosen)
        return treat(prepared(plan.shrunk(pixels), params.pyramid or 1, treat)), plan

    def make_anew(self, pixels: Pixels, lora: str) -> Pixels:
        return self.make(pixels, *self._settled(pixels, lora))

    def _settled(
        self, pixels: Pixels, lora: str, strength: float | None = None, levels: int | None = None
    ) -> tuple[JobParams, Chosen]:
        modes = {"auto": LoraMode.AUTO, "none": LoraMode.NONE}
        params = JobParams(
            lora_mode=modes.get(lora, LoraMode.NAMED),
            loras=[] if lora in modes else [LoraRef(name=lora)],
            strength=strength,
            pyramid=levels,
            seed=0,
            preview=False,
        )
        return self._chooser.settle(params, pixels)

    def _key(self, pixels: Pixels, params: JobParams, chosen: Chosen) -> str:
        weights = [(self.weights(entry.name), scale, entry.shrink) for entry, scale in chosen]
        way = params.model_dump_json(include=_WAY)
        return _digest(pixels.tobytes(), f"{self._base} {pixels.shape} {weights} {way}".encode())

    def close(self) -> None:
        self._engine.close()


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:32]
