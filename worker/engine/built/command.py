"""`retouch build-engine`: builds engines of a base's parts for the requested sizes.

Owns the options and the list of what is built. An engine that exists is kept.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from shared.log import configure_logging
from shared.settings import load_settings
from worker.engine.base.base_loading import choose_device, load_base
from worker.engine.base.loaded_base import STEP_FAMILIES, LoadedBase
from worker.engine.base.tile_size import SIDE_MULTIPLE
from worker.engine.built import parts
from worker.engine.built.compiler import CannotBuild, Compiler, tensorrt
from worker.engine.built.engine_cache import ENGINES, EngineCache
from worker.engine.built.use import Parts
from worker.engine.fidelity import pad_to_multiple
from worker.engine.step.prompts import PromptEncoder

Size = tuple[int, int]
Inputs = Sequence[torch.Tensor]
Planned = tuple[str, torch.nn.Module, Inputs]


def main(
    arguments: Sequence[str] | None = None,
    find_compiler: Callable[[], Compiler] = tensorrt,
) -> int:
    """Builds the engines; returns the process' exit code."""
    settings = load_settings()
    options = _options(settings.base_model).parse_args(arguments)
    configure_logging(settings)
    try:
        compiler = find_compiler()
        loaded = _loaded(options.base, settings.device)
    except CannotBuild as error:
        print(error)
        return 1
    build(loaded, compiler, settings.data_dir / ENGINES, options.size, options.batch)
    return 0


def build(
    loaded: LoadedBase,
    compiler: Compiler,
    folder: Path,
    sizes: Sequence[Size],
    batches: Sequence[int],
) -> None:
    """Builds every part for these sizes, and the UNet for these batch sizes."""
    engine_cache = EngineCache(folder, loaded, compiler)
    with torch.inference_mode():
        plan = list(planned(loaded, sizes, batches))
    for part, module, inputs in plan:
        started = time.perf_counter()
        # Exported outside of inference mode, in which torch cannot trace a program.
        with torch.no_grad():
            is_new = engine_cache.build(part, module, [x.clone() for x in inputs])
        shapes = " ".join("x".join(map(str, x.shape)) for x in inputs)
        said = f"built in {time.perf_counter() - started:.0f} s" if is_new else "exists already"
        print(f"{part} {shapes}: {said}", flush=True)


def planned(loaded: LoadedBase, sizes: Sequence[Size], batches: Sequence[int]) -> Iterator[Planned]:
    """Each part with inputs of the kind that the engine passes to it."""
    pipeline, device, dtype = loaded.pipeline, loaded.device, loaded.dtype
    encoder, decoder = parts.Encoder(pipeline.vae), parts.Decoder(pipeline.vae)
    prompts = PromptEncoder(pipeline, device, Parts())
    for width, height in sizes:
        blank = torch.zeros(1, 3, height, width, device=device, dtype=pipeline.vae.dtype)
        picture = pad_to_multiple(blank, SIDE_MULTIPLE)
        latents = encoder(picture)[0]
        yield parts.ENCODER, encoder, [picture]
        yield parts.DECODER, decoder, [latents]
        condition = prompts.condition("", "", False, (), (width, height))
        unet = parts.Unet(pipeline.unet, tuple(condition.added))
        sample = latents.to(dtype).contiguous(memory_format=torch.channels_last)
        for batch in batches:
            one = [sample, torch.zeros(1, device=device), condition.embeddings]
            inputs = [*one, *condition.added.values()]
            yield parts.UNET, unet, [x.expand(batch, *x.shape[1:]).contiguous() for x in inputs]
    for name in parts.TEXTS:
        text: Any = getattr(pipeline, name, None)
        if text is not None:
            length = pipeline.tokenizer.model_max_length
            ids = torch.zeros(1, length, device=device, dtype=torch.int64)
            yield name, parts.Text(text), [ids]


def _loaded(base: str, device: str) -> LoadedBase:
    loaded = load_base(base, choose_device(device))
    if loaded.base.id not in STEP_FAMILIES:
        raise CannotBuild(
            f"{loaded.base.label} runs through diffusers' own pipeline, one picture at a time; "
            "engines are built for the embedded base, SD 1.x, SD 2.x and SDXL."
        )
    return loaded


def _options(base: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="retouch build-engine", description=__doc__)
    parser.add_argument("--base", default=base, help="folder or hub id; default: the worker's")
    parser.add_argument(
        "--size",
        type=_size,
        nargs="+",
        default=[(512, 512)],
        help="WIDTHxHEIGHT of the pictures, in pixels; default: 512x512",
    )
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8],
        help="UNet evaluations at a time (a row with guidance takes two); default: 1 2 4 8",
    )
    return parser


def _size(text: str) -> Size:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 512x512")
    return int(width), int(height)
