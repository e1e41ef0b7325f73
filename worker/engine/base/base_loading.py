"""Loads a base checkpoint (a folder, one file or a hub id) with diffusers' classes.

Owns dtype, scheduler and memory layout. The embedded base, SD 1.x, SD 2.x and SDXL are all loaded
this way; other families are loaded by the class that diffusers chooses.
"""

import warnings
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import structlog
import torch
import transformers

from shared.bases import SDXL, Base, identify_place
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.judgement import check_checkpoint
from shared.checkpoints.places import find_checkpoint
from shared.params import DEFAULT_SAMPLER
from worker.engine.base.fingerprint import fingerprint_of
from worker.engine.base.folder_loading import download, load_folder
from worker.engine.base.gguf_loading import is_gguf
from worker.engine.base.loaded_base import STABLE_DIFFUSION, STEP_FAMILIES, LoadedBase
from worker.engine.base.precision import allow_fp16_accumulation, choose_autocast
from worker.engine.base.profiles import OFFLOADING, settled_profile
from worker.engine.base.quantizing import quantize_blocks
from worker.engine.base.schedulers import make_scheduler
from worker.engine.base.single_file import load_single_file

logger = structlog.get_logger(__name__)


def choose_device(wanted: str) -> torch.device:
    """The device named by the setting; `auto` is the first one that this machine has."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def load_base(
    base_model: str,
    device: torch.device,
    precision: str = "float32",
    profile: str = "auto",
    quantize: str = "none",
) -> LoadedBase:
    """Loads the checkpoint once, ready for image-to-image, with the parts on the device that
    `profile` names; `auto` decides by the device's memory. `quantize` is `int8` for weights of
    eight bits in the network's blocks.

    Raises BadCheckpoint if it cannot be loaded or served.
    """
    check_checkpoint(base_model)
    place = find_checkpoint(base_model) or download(base_model)
    base = identify_place(place)
    dtype = _weights_dtype(base, device)
    pipeline = _load_pipeline(base, place, dtype)
    _check_takes_photo(place, pipeline)
    if base.id in STEP_FAMILIES:
        pipeline.scheduler = make_scheduler(pipeline.scheduler.config, DEFAULT_SAMPLER)
    pipeline.set_progress_bar_config(disable=True)
    for part in ("unet", "vae"):
        if hasattr(pipeline, part):
            getattr(pipeline, part).to(memory_format=layout_of(part, device))
    fingerprint = fingerprint_of(pipeline)
    # A GGUF file has brought its own rounding.
    if quantize == "int8" and not is_gguf(getattr(pipeline, "transformer", None)):
        quantize_blocks(pipeline)
        fingerprint = f"int8-{fingerprint}"
    profile = settled_profile(pipeline, base.id, device, profile)
    _place(pipeline, device, profile)
    quick = allow_fp16_accumulation(device, precision)
    logger.info(
        "base loaded", base=base.id, device=str(device), profile=profile, fp16_accumulation=quick
    )
    autocast = choose_autocast(device, precision)
    return LoadedBase(pipeline, base, device, dtype, autocast, profile, fingerprint)


def layout_of(part: str, device: torch.device) -> torch.memory_format:
    """The memory layout of the tensors of the `unet` or the `vae`."""
    # Channels last: four times the speed of the default for float32 convolutions on the CPU, 1.2
    # times for one row of the UNet on a GPU, where the autoencoder would rearrange large tensors.
    on_gpu = part == "vae" and device.type == "cuda"
    return torch.contiguous_format if on_gpu else torch.channels_last


def _weights_dtype(base: Base, device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.float32
    # Transformers such as FLUX were trained in bfloat16, and overflow in float16.
    if base.id not in STEP_FAMILIES and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def _place(pipeline: Any, device: torch.device, profile: str) -> None:
    """Parts that an engine moves to the device itself stay in main memory."""
    if profile not in OFFLOADING:
        pipeline.to(device)
    elif profile == "model_offload" and hasattr(pipeline, "unet"):
        pipeline.unet.to(device)


def _be_quiet() -> None:
    """No progress bars and hints of the libraries between our own log lines."""
    for library in (diffusers.logging, transformers.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _load_pipeline(base: Base, place: Path, dtype: torch.dtype) -> Any:
    kind, options = _class_of(base), {**_options(base), "dtype": dtype}
    _be_quiet()
    with warnings.catch_warnings():
        # AutoencoderTiny is a valid decoder for these pipelines; the type hint names only one.
        warnings.simplefilter("ignore")
        if place.is_file():
            options["torch_dtype"] = options.pop("dtype")
            return load_single_file(place, kind, options)
        return load_folder(place, kind, options)


def _check_takes_photo(place: Path, pipeline: Any) -> None:
    """Raises BadCheckpoint for a pipeline that would make its pictures from words alone."""
    if "image" not in signature(pipeline.__call__).parameters:
        raise BadCheckpoint(
            f"'{place.name}' is for {type(pipeline).__name__}, which takes no photo. Use a "
            "checkpoint of SD 1.x, SD 2.x, SDXL, SD 3 or FLUX, or one that edits pictures"
        )


def _class_of(base: Base) -> Any:
    # diffusers imports a class when its name is first used; the last one imports all families.
    if base is SDXL:
        return diffusers.StableDiffusionXLImg2ImgPipeline
    if base.id in STABLE_DIFFUSION:
        return diffusers.StableDiffusionImg2ImgPipeline
    return diffusers.AutoPipelineForImage2Image


def _options(base: Base) -> dict[str, Any]:
    if base.id not in STABLE_DIFFUSION:
        return {}
    # This service's own guards check the outputs; the checkpoint's is a second, weaker one.
    return {"safety_checker": None, "requires_safety_checker": False}
