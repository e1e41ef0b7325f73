"""Runs one job at a time through diffusers' own image-to-image pipeline.

Owns the device's thread, the warm pipeline and its adapters. Knows nothing of jobs' records.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import torch

from shared.errors import OutOfMemory
from shared.jobs import Stage
from worker.engine.base.device_errors import translated
from worker.engine.base.device_lost import DeviceLost
from worker.engine.base.gguf_loading import is_gguf
from worker.engine.base.loaded_base import STEP_FAMILIES, LoadedBase
from worker.engine.base.profiles import OFFLOADING, TILING
from worker.engine.base.schedulers import TCD_ETA, make_once, make_scheduler
from worker.engine.base.tile_size import SIDE_MULTIPLE, choose_tile_size
from worker.engine.base.vae_tiles import tile_vae
from worker.engine.colours import with_colours
from worker.engine.fidelity import (
    apply_fidelity,
    crop_to,
    needs_reconstruction,
    pad_to_multiple,
)
from worker.engine.interface import (
    EngineJob,
    EngineResult,
    EnlargeJob,
    OnEvent,
    Pixels,
    PreviewReady,
    StageStarted,
    StepDone,
)
from worker.engine.lora.peft_adapters import AdapterPool
from worker.engine.pixels import (
    PREVIEW_SIDE,
    in_colours_of,
    scaled_to_side,
    sized,
    to_pixels,
    to_tensor,
)
from worker.engine.preview_job import as_preview
from worker.engine.thread import EngineThread, Order
from worker.engine.upscale.alone import enlarge
from worker.engine.upscale.upscalers import Upscalers

OnStep = Callable[[int], None]


class DiffusersEngine:
    """Keeps one base loaded and makes one picture after the other."""

    rows = small_rows = 1

    def __init__(self, loaded: LoadedBase, lora_slots: int) -> None:
        self.base = loaded.base.id
        self.fingerprint = loaded.fingerprint
        self.device = str(loaded.device)
        self.profile = loaded.profile
        _offload(loaded)
        if loaded.profile in (*TILING, *OFFLOADING):
            tile_vae(getattr(loaded.pipeline, "vae", None), enabled=True)
        self._loaded = loaded
        self._pipeline = loaded.pipeline
        self._adapters = AdapterPool(loaded.pipeline, lora_slots)
        self._upscalers = Upscalers(loaded.device)
        self._thread = EngineThread(self._run)

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        return self._thread.submit(job, on_event)

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        return self._thread.submit(job, on_event)

    def residency(self) -> dict[str, Any]:
        return {
            "base": "on_device",
            "loras": self._adapters.residents(),
            "upscalers": self._upscalers.names(),
        }

    def loaded_loras(self) -> list[str]:
        return self._adapters.digests()

    def complaint(self) -> DeviceLost | None:
        return None

    def close(self) -> None:
        self._thread.close()

    def _run(self, job: Order, on_event: OnEvent) -> EngineResult:
        with _device_errors(), torch.inference_mode():
            if isinstance(job, EnlargeJob):
                return enlarge(job, on_event, self._upscalers)
            return _Run(self._loaded, self._adapters, job, on_event).result()


class _Run:
    """One job in the pipeline."""

    def __init__(
        self, loaded: LoadedBase, adapters: AdapterPool, job: EngineJob, on_event: OnEvent
    ) -> None:
        self._loaded = loaded
        self._pipeline = loaded.pipeline
        self._adapters = adapters
        self._wanted = job.pixels.shape[:2]
        self._job = job = _made_whole(job, loaded)
        self._on_event = on_event
        self._seconds: dict[str, float] = {}
        self._part: tuple[str, float] | None = None
        self._known = signature(loaded.pipeline.__call__).parameters

    def result(self) -> EngineResult:
        self._enter(Stage.LOADING)
        with self._adapters.active(self._job.loras), self._sampling():
            if self._job.preview:
                self._preview()
            self._enter(Stage.ENCODING)
            pixels = self._picture(self._job, self._report_step)
        self._close_part()
        return EngineResult(sized(pixels, *self._wanted), self._degraded, self._seconds)

    @property
    def _degraded(self) -> tuple[str, ...]:
        """What the pipeline could not do: apply a strength, or make the picture at its size."""
        ignored = () if "strength" in self._known else ("strength_ignored",)
        return ignored if self._job.pixels.shape[:2] == self._wanted else (*ignored, "smaller_side")

    @property
    def _executed_steps(self) -> int:
        """All steps for a pipeline without a strength, which begins with pure noise."""
        if "strength" not in self._known:
            return self._job.steps
        return self._job.executed_steps

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Makes the pipeline use the job's sampler, if its scheduler can be exchanged."""
        pipeline, usual = self._pipeline, self._pipeline.scheduler
        if self._has_latents:
            pipeline.scheduler = _scheduler(usual.config, self._job)
        try:
            yield
        finally:
            pipeline.scheduler = usual

    def _preview(self) -> None:
        self._close_part("preview")
        small = scaled_to_side(self._job.pixels, PREVIEW_SIDE)
        preview = as_preview(replace(self._job, pixels=small), str(self._loaded.device))
        pixels = self._picture(preview, lambda _step: preview.stop.check())
        self._on_event(PreviewReady(pixels))

    def _report_step(self, step: int) -> None:
        self._on_event(StepDone(step, self._executed_steps))
        self._job.stop.check()

    def _picture(self, job: EngineJob, on_step: OnStep) -> Pixels:
        source = to_tensor(job.pixels, self._loaded.device, self._loaded.dtype)
        padded = pad_to_multiple(source, SIDE_MULTIPLE)
        enter = self._enter if job is self._job else _ignore
        with _before_first_call(self._denoiser, lambda: enter(Stage.DENOISING)):
            output = self._denoise(job, padded, on_step)
        enter(Stage.DECODING)
        decoded = self._decode(output) if self._has_latents else output * 2 - 1
        made = to_pixels(crop_to(self._faithful(padded, decoded), source))
        return in_colours_of(job.pixels, with_colours(job.fidelity, job.pixels, made))

    def _denoise(self, job: EngineJob, padded: torch.Tensor, on_step: OnStep) -> torch.Tensor:
        def after_step(_pipe: Any, index: int, _t: Any, state: dict[str, Any]) -> dict[str, Any]:
            on_step(index + 1)
            return state

        steps = 1 if job.sampler == "once" else job.steps
        # diffusers runs no step if int(steps * strength) is 0; we run one.
        strength = max(job.strength, 1 / steps + 1e-9)
        height, width = padded.shape[-2:]
        # Each family's pipeline has its own arguments.
        wishes = {
            "prompt": job.prompt,
            "negative_prompt": job.negative_prompt or None,
            "image": (padded + 1) / 2,
            "strength": min(strength, 1.0),
            "num_inference_steps": steps,
            "guidance_scale": job.guidance_scale,
            "eta": TCD_ETA if job.sampler == "tcd" else 0.0,
            "height": height,
            "width": width,
            # FLUX Kontext would otherwise choose a size of its own.
            "_auto_resize": False,
            "generator": torch.Generator("cpu").manual_seed(job.seed),
            "output_type": "latent" if self._has_latents else "pt",
            "callback_on_step_end": after_step,
        }
        answer = self._pipeline(
            **{name: wish for name, wish in wishes.items() if name in self._known}
        )
        images: torch.Tensor = answer.images
        return images if self._has_latents else _in_size(images, height, width)

    @property
    def _has_latents(self) -> bool:
        return self._loaded.base.id in STEP_FAMILIES

    @property
    def _denoiser(self) -> torch.nn.Module:
        found: torch.nn.Module = getattr(self._pipeline, "unet", None) or self._pipeline.transformer
        return found

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        vae = self._pipeline.vae
        with _upcast(vae):
            scaled = latents.to(vae.dtype) / vae.config.scaling_factor
            decoded: torch.Tensor = vae.decode(scaled).sample
        return decoded.to(latents.dtype)

    def _reconstructed(self, padded: torch.Tensor) -> torch.Tensor:
        vae = self._pipeline.vae
        with _upcast(vae):
            encoded = vae.encode(padded.to(vae.dtype))
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
            decoded: torch.Tensor = vae.decode(latents).sample
        return decoded.to(padded.dtype)

    def _faithful(self, padded: torch.Tensor, decoded: torch.Tensor) -> torch.Tensor:
        mode = self._job.fidelity
        if not needs_reconstruction(mode):
            return decoded
        return apply_fidelity(mode, padded, decoded, self._reconstructed(padded))

    def _enter(self, stage: Stage) -> None:
        self._close_part(str(stage))
        self._on_event(StageStarted(stage))

    def _close_part(self, following: str | None = None) -> None:
        now = time.perf_counter()
        if self._part:
            name, since = self._part
            self._seconds[name] = self._seconds.get(name, 0.0) + now - since
        self._part = (following, now) if following else None


def _scheduler(config: Any, job: EngineJob) -> Any:
    if job.sampler == "once":
        return make_once(config, job.timestep, job.strength, job.predicts_difference)
    return make_scheduler(config, job.sampler, job.trailing)


def _made_whole(job: EngineJob, loaded: LoadedBase) -> EngineJob:
    """The job at a size that the base can make in one piece: this engine makes no tiles."""
    size, sides = choose_tile_size(loaded.base.id, has_room=True), job.pixels.shape[:2]
    if size.fits(*sides):
        return job
    return replace(job, pixels=scaled_to_side(job.pixels, size.most(*sides)))


def _offload(loaded: LoadedBase) -> None:
    """Makes diffusers move parts or layers to the device only while they are used."""
    if loaded.profile == "model_offload":
        loaded.pipeline.enable_model_cpu_offload(device=loaded.device)
    elif loaded.profile == "sequential_offload":
        if is_gguf(getattr(loaded.pipeline, "transformer", None)):
            # accelerate cannot move packed weights one layer at a time; they stay on the device.
            loaded.pipeline._exclude_from_cpu_offload = ["transformer"]
        loaded.pipeline.enable_sequential_cpu_offload(device=loaded.device)


def _in_size(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The pictures [N, 3, H, W] at the requested size; some families choose their own."""
    if images.shape[-2:] == (height, width):
        return images
    return torch.nn.functional.interpolate(
        images, (height, width), mode="bicubic", align_corners=False, antialias=True
    )


@contextmanager
def _upcast(vae: torch.nn.Module) -> Iterator[None]:
    """Computes in float32 inside the block if the autoencoder requires it.

    SDXL's overflows in float16 (`force_upcast` in its configuration) and gives black pictures.
    """
    dtype = next(vae.parameters()).dtype
    config: Any = vae.config
    if dtype != torch.float16 or not getattr(config, "force_upcast", False):
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(dtype)


def _ignore(_stage: Stage) -> None:
    """A preview is not part of the job's stages."""


@contextmanager
def _before_first_call(module: torch.nn.Module, action: Callable[[], None]) -> Iterator[None]:
    """Runs `action` once, just before the module's first forward pass."""

    def hook(_module: torch.nn.Module, _args: object) -> None:
        handle.remove()
        action()

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _device_errors() -> Iterator[None]:
    """Translates the device's errors into ours, and cleans up for the next job."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemory("the device has no memory left for this picture") from error
    except torch.AcceleratorError as error:
        raise translated(error) from error
