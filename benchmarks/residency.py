"""LoRAs on a base of the real size: the cost of a switch, and any lasting effects.

    python -m benchmarks.residency [--base sd15|sdxl] [--files 12] [--rank 16] [--switches 200]

One run, one process, one UNet: first this service's engine, then the same weights with diffusers'
own methods, so that the ratios are valid whatever else the machine does. A switch is everything
between two pictures and before the first step; the pictures themselves are as small as possible.
Random weights: only times, bytes and bit-equality are meaningful.
"""

import argparse
import gc
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import psutil
import structlog
import torch
import transformers

from benchmarks.real_size import make_base, write_lora
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob, EngineResult
from worker.engine.step.step_engine import StepEngine

MIB = 2**20
SIDE = 64


def main() -> None:
    options = _options()
    _be_quiet()
    dtype = {"sd15": torch.float32, "sdxl": torch.bfloat16}[options.base]
    loaded = make_base(options.base, dtype)
    unet = loaded.pipeline.unet
    count = sum(weight.numel() for weight in unet.parameters())
    print(f"{options.base}: {count / 1e6:.0f} M parameters, {dtype}, ", end="")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        entries = _write_files(Path(name), unet, options)
        print(
            f"{options.files} LoRAs of rank {options.rank}, {entries[0].size_bytes / MIB:.1f} MiB"
        )
        ours = measure_engine(loaded, entries, options.switches)
        theirs = measure_diffusers(loaded.pipeline, entries)
    _show(ours, theirs)


def _be_quiet() -> None:
    warnings.filterwarnings("ignore")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for library in (diffusers.logging, transformers.logging):
        library.set_verbosity_error()


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="sd15", choices=["sd15", "sdxl"])
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--switches", type=int, default=200)
    return parser.parse_args()


def _write_files(folder: Path, unet: torch.nn.Module, options: Any) -> list[LoraEntry]:
    for index in range(options.files):
        scheme = "kohya" if index % 2 else "diffusers"
        path = folder / f"lora_{index}_{options.base}.safetensors"
        write_lora(unet, path, index, options.rank, scheme)
    catalog = Catalog(folder, options.base)
    catalog.scan()
    return [catalog.resolve(f"lora_{index}") for index in range(options.files)]


# --- this service


def measure_engine(loaded: LoadedBase, entries: list[LoraEntry], switches: int) -> dict[str, float]:
    """Seconds of each kind of switch; prints the memory use and the equality of pictures."""
    engine = StepEngine(loaded, choose_limits(loaded))
    first, second = entries[:2]
    try:
        check_no_bleeding(engine, first)
        found = {"cold": _cold(engine, entries), "resident": _resident(engine, first, second)}
        measure_steps(engine, first)
        found["cycle"] = check_memory(engine, entries, switches)
    finally:
        engine.close()
    print("residency:", engine.residency())
    return found


def measure_steps(engine: StepEngine, entry: LoraEntry, rounds: int = 5) -> float:
    """How much longer the steps of a picture of 256 px take with a resident LoRA."""
    with_lora, without = [], []
    for _ in range(rounds):
        without.append(_run(engine, side=256).seconds["denoising"])
        with_lora.append(_run(engine, entry, side=256).seconds["denoising"])
    ratios = [one / other for one, other in zip(with_lora, without, strict=True)]
    print(f"a step at 256 px with a resident LoRA: {statistics.median(ratios):.3f} of one without")
    return statistics.median(ratios)


def _run(engine: StepEngine, *entries: LoraEntry, side: int = SIDE) -> EngineResult:
    pixels = np.full((side, side, 3), 127, np.uint8)
    loras = tuple((entry, 1.0) for entry in entries)
    job = EngineJob(pixels, "a photo", "", 0.1, 10, 1.0, 1, loras=loras, preview=False)
    return engine.submit(job, lambda _: None).result()


def check_no_bleeding(engine: StepEngine, entry: LoraEntry) -> None:
    """A, none, A: the same bits as before, and A has an effect."""
    none, some = _run(engine), _run(engine, entry)
    again = [_run(engine), _run(engine, entry), _run(engine)]
    assert not np.array_equal(none.pixels, some.pixels), "the LoRA changes nothing"
    for one, other in zip(again, (none, some, none), strict=True):
        assert np.array_equal(one.pixels, other.pixels), "the LoRA bleeds"
    print("none, A, none, A, none: bit-equal pictures")


def _cold(engine: StepEngine, entries: list[LoraEntry]) -> float:
    """From the file to weights ready for a step, including loading (in a separate thread)."""
    spans = []
    for entry in entries[:5]:
        engine.forget_loras()
        before = engine.adapters.counts.load_seconds
        loading = _run(engine, entry).seconds["loading"]
        spans.append(loading + engine.adapters.counts.load_seconds - before)
    return statistics.median(spans)


def _resident(engine: StepEngine, first: LoraEntry, second: LoraEntry) -> float:
    spans = [_run(engine, entry).seconds["loading"] for entry in (first, second) * 6]
    return statistics.median(spans[2:])


def check_memory(engine: StepEngine, entries: list[LoraEntry], switches: int) -> float:
    """Switches through all files, which do not all fit; returns the median switch, and the
    growth.
    """
    process, spans, sizes = psutil.Process(), [], []
    for index in range(switches):
        spans.append(_run(engine, entries[index % len(entries)]).seconds["loading"])
        if index % 10 == 9:
            gc.collect()
            sizes.append(process.memory_info().rss / MIB)
    half = len(sizes) // 2
    growth = statistics.mean(sizes[half:]) - statistics.mean(sizes[half // 2 : half])
    print(f"{switches} switches: RSS {sizes[0]:.0f} to {sizes[-1]:.0f} MiB,", end=" ")
    print(f"last half against the quarter before: {growth:+.0f} MiB")
    return statistics.median(spans)


# --- diffusers' own methods


def measure_diffusers(pipeline: Any, entries: list[LoraEntry]) -> dict[str, float]:
    """Seconds of loading and unloading per picture, of set_adapters, and of a hotswap."""
    return {
        "load and unload": _times(lambda i: _load_and_unload(pipeline, entries[i % 2]), 6),
        "set_adapters": _set_adapters(pipeline, entries),
        "hotswap": _hotswap(pipeline, entries),
    }


def _times(action: Callable[[int], None], repeats: int) -> float:
    spans = []
    for index in range(repeats):
        started = time.perf_counter()
        action(index)
        spans.append(time.perf_counter() - started)
    return statistics.median(spans[1:])


def _load(pipeline: Any, entry: LoraEntry, **options: Any) -> None:
    pipeline.load_lora_weights(str(entry.path.parent), weight_name=entry.path.name, **options)


def _load_and_unload(pipeline: Any, entry: LoraEntry) -> None:
    _load(pipeline, entry)
    pipeline.unload_lora_weights()


def _set_adapters(pipeline: Any, entries: list[LoraEntry]) -> float:
    for name, entry in zip("ab", entries, strict=False):
        _load(pipeline, entry, adapter_name=name)
    seconds = _times(lambda i: pipeline.set_adapters(["ab"[i % 2]], [1.0]), 12)
    pipeline.unload_lora_weights()
    return seconds


def _hotswap(pipeline: Any, entries: list[LoraEntry]) -> float:
    _load(pipeline, entries[0], adapter_name="a")
    even = entries[0::2]

    def swap(index: int) -> None:
        _load(pipeline, even[index % len(even)], adapter_name="a", hotswap=True)

    seconds = _times(swap, 6)
    pipeline.unload_lora_weights()
    return seconds


def _show(ours: dict[str, float], theirs: dict[str, float]) -> None:
    seed = theirs["load and unload"]
    rows = {
        "diffusers: load_lora_weights and unload_lora_weights per picture": seed,
        "diffusers: hotswap, the file read": theirs["hotswap"],
        "diffusers: set_adapters among two resident": theirs["set_adapters"],
        "here: cold, the file read": ours["cold"],
        "here: among two resident": ours["resident"],
        "here: among more than fit": ours["cycle"],
    }
    print("| switch | ms | of the seed's way |")
    print("| --- | --- | --- |")
    for what, seconds in rows.items():
        print(f"| {what} | {1000 * seconds:.1f} | {seconds / seed:.3f} |")


if __name__ == "__main__":
    main()
