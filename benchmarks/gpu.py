"""The device's time for each stage, and how close that is to its peak.

`python -m benchmarks.gpu [--family sd15 sdxl] [--side 512] [--batches 1 2 4 8]`: real sizes with
random weights, half precision. Encoding, one guided step at every batch size, eager and with CUDA
graphs, without LoRAs and with four in LoRA slots, decoding, and a whole job of 4 executed steps.
Times are from CUDA events; torch counts the arithmetic in one eager call, and the device's peak is
that of a large matrix product measured in the same run. Then pictures with mixed LoRAs in one
batch, beside diffusers' eager loop (benchmarks/mixed_loras.py), and previews beside jobs
(benchmarks/gpu_previews.py). `--device cpu --small` runs everything except CUDA itself.
"""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_previews import show_previews
from benchmarks.machine import describe_machine
from benchmarks.mixed_loras import compare, make_loras
from benchmarks.real_size import CHECKPOINTS, attention_layers, base_folder
from shared.loras.entry import LoraEntry
from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.built.use import Parts
from worker.engine.interface import EngineJob, Pixels
from worker.engine.lora.lora_file import AdapterWeights, LowRank
from worker.engine.lora.slots import SlotPool
from worker.engine.step.denoiser import ADDED, Denoiser
from worker.engine.step.graphs import Capture, cuda_capture
from worker.engine.step.step_engine import StepEngine

Action = Callable[[], Any]
RANKS = (8, 16, 16, 32)
# Whole jobs: rounds until all shapes are captured, and measured rounds.
WARM_ROUNDS, ROUNDS = 3, 9
# A shape runs eagerly several times before it is captured; after this many calls it must have been.
MOST_EAGER_CALLS = 50


class Stage(NamedTuple):
    """A timed function, and an eager version of it whose arithmetic torch can count."""

    name: str
    action: Action
    eager: Action


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    print(f"{_name(device)}; torch {torch.__version__}; {options.side} px")
    peak = matmul_peak(device)
    print(f"largest matrix product: {peak / 1e12:.3f} TFLOP/s\n")
    for family in options.family:
        checkpoint = base_folder(family, options.small, options.folder)
        by_stages(family, load_base(str(checkpoint), device), options, peak)
        base = load_base(str(checkpoint), device)
        whole(base, options.side, make_loras(base, checkpoint))
        base = load_base(str(checkpoint), device)  # an engine leaves its last LoRA in the weights
        compare(base, checkpoint, options.side, options.pictures, options.rounds)
        show_previews(base, options.side)


def by_stages(family: str, loaded: LoadedBase, options: Any, peak: float) -> None:
    print(f"### {family}\n\n| stage | ms | TFLOP | % of the peak |\n| --- | --- | --- | --- |")
    with torch.inference_mode():
        for stage in stages(loaded, options.side, options.batches):
            show(stage, loaded.device, peak)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", nargs="+", default=["sd15", "sdxl"])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--pictures", type=int, default=8, help="with mixed LoRAs, at once")
    parser.add_argument("--rounds", type=int, default=5, help="of pictures with mixed LoRAs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--folder", type=Path, default=CHECKPOINTS)
    return parser.parse_args()


def stages(loaded: LoadedBase, side: int, batches: Sequence[int]) -> Iterator[Stage]:
    vae = loaded.pipeline.vae
    picture = _random(loaded, (1, 3, side, side), vae.dtype)
    yield _launched("VAE encode", lambda: vae.encode(picture))
    latents = _random(loaded, (1, 4, side // 8, side // 8), vae.dtype)
    pool = SlotPool(loaded.pipeline.unet)
    hold_loras(pool, loaded.pipeline.unet)
    for batch in batches:
        yield from guided_steps(loaded, pool, side, batch)
    yield _launched("VAE decode", lambda: vae.decode(latents))


def guided_steps(loaded: LoadedBase, pool: SlotPool, side: int, batch: int) -> Iterator[Stage]:
    """A step of `batch` rows with guidance: with and without LoRAs, eager and with CUDA graphs."""
    unet, inputs = loaded.pipeline.unet, unet_inputs(loaded, side, 2 * batch)
    for loras in (False, True):
        sets = [((f"lora{i % len(RANKS)}", 1.0),) if loras else () for i in range(2 * batch)]

        def step(capture: Capture | None, sets: Any = sets) -> tuple[Denoiser, Action]:
            denoiser = Denoiser(unet, pool, None, capture, Parts())
            return denoiser, lambda: denoiser(inputs, sets, True, True)

        title = f"guided step, batch {batch}, {{}}{', four LoRAs' if loras else ''}"
        eager = step(None)[1]
        yield _launched(title.format("eager"), eager)
        if loaded.device.type == "cuda":
            denoiser, captured = step(cuda_capture())
            until_captured(denoiser, captured)
            yield Stage(title.format("captured"), captured, eager)


def _launched(name: str, action: Action) -> Stage:
    return Stage(name, action, action)


def until_captured(denoiser: Denoiser, action: Action) -> None:
    """Otherwise eager calls would be reported as captured ones."""
    for _ in range(MOST_EAGER_CALLS):
        action()
        if denoiser.graphs:
            return
    raise SystemExit(f"no graph was captured in {MOST_EAGER_CALLS} calls")


def hold_loras(pool: SlotPool, unet: torch.nn.Module) -> None:
    """LoRAs of several ranks on every attention projection."""
    layers = list(attention_layers(unet))
    for index, rank in enumerate(RANKS):
        pairs = {}
        for name, (writes, reads) in layers:
            down = torch.randn(rank, reads) * 0.01
            pairs[name] = LowRank(down, torch.randn(writes, rank) * 0.01, 1.0)
        assert pool.hold(f"lora{index}", AdapterWeights("random", {"unet": pairs}))


def unet_inputs(loaded: LoadedBase, side: int, evaluations: int) -> dict[str, torch.Tensor]:
    width = loaded.pipeline.unet.config.cross_attention_dim
    inputs = {
        "sample": _random(loaded, (evaluations, 4, side // 8, side // 8)),
        "timestep": torch.full((evaluations,), 321, device=loaded.device),
        "embeddings": _random(loaded, (evaluations, 77, width)),
    }
    if loaded.base.id == "sdxl":
        inputs[ADDED + "text_embeds"] = _random(loaded, (evaluations, 1280))
        inputs[ADDED + "time_ids"] = _random(loaded, (evaluations, 6))
    return inputs


def whole(loaded: LoadedBase, side: int, loras: Sequence[LoraEntry]) -> None:
    """Jobs through the engine, alone and eight at once: without a LoRA, all with one, each with
    another. Medians of rounds in which the variants alternate; every picture is new.
    """
    engine = StepEngine(loaded, choose_limits(loaded))
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    seeds = itertools.count()

    def run(count: int, wanted: Sequence[LoraEntry]) -> float:
        jobs = [_job(pixels, next(seeds), wanted[i % len(wanted)]) for i in range(count)]
        started = time.perf_counter()
        for future in [engine.submit(job, lambda _: None) for job in jobs]:
            future.result()
        return time.perf_counter() - started

    arms = {"no LoRA": [None], "one LoRA": loras[:1], "four LoRAs": loras}
    spent: dict[tuple[str, int], list[float]] = defaultdict(list)
    for number in range(WARM_ROUNDS + ROUNDS):
        for (name, wanted), count in itertools.product(arms.items(), (1, 8)):
            seconds = run(count, wanted)
            if number >= WARM_ROUNDS:
                spent[name, count].append(seconds)
    engine.close()
    print("\n| 4 executed steps, guidance | ms for one | ms for eight at once |")
    print("| --- | --- | --- |")
    for name in arms:
        one, eight = (statistics.median(spent[name, count]) * 1000 for count in (1, 8))
        print(f"| {name} | {one:.1f} | {eight:.1f} |")


def _job(pixels: Pixels, seed: int, lora: LoraEntry | None) -> EngineJob:
    moved = np.roll(pixels, seed, axis=1)
    held = ((lora, 1.0),) if lora else ()
    return EngineJob(moved, "a photo", "", 0.4, 10, 7.5, seed, held, preview=False)


def show(stage: Stage, device: torch.device, peak: float) -> None:
    # Capturing calls a function several times, and a replay calls nothing that torch sees.
    with FlopCounterMode(display=False) as counter:
        stage.eager()
    flops = counter.get_total_flops()
    seconds = timed(stage.action, device)
    share = flops / seconds / peak if flops else float("nan")
    print(f"| {stage.name} | {seconds * 1000:.2f} | {flops / 1e12:.3f} | {share:.0%} |", flush=True)


def timed(action: Action, device: torch.device, times: int = 20) -> float:
    """The median of single runs, measured by the device's own clock."""
    if device.type != "cuda":
        return _by_the_clock(action, 3)
    spent = []
    for _ in range(times + 3):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        action()
        after.record()
        after.synchronize()
        spent.append(before.elapsed_time(after) / 1000)
    return statistics.median(spent[3:])


def _by_the_clock(action: Action, times: int) -> float:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def matmul_peak(device: torch.device) -> float:
    """FLOP/s of the best of some large products in the type that the engine computes in."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / timed(lambda: a @ b, device)


def _random(
    loaded: LoadedBase, shape: tuple[int, ...], dtype: torch.dtype | None = None
) -> torch.Tensor:
    tensor = torch.randn(shape, device=loaded.device, dtype=dtype or loaded.dtype)
    return tensor.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else tensor


def _name(device: torch.device) -> str:
    is_cuda = device.type == "cuda"
    return torch.cuda.get_device_name(device) if is_cuda else describe_machine()


if __name__ == "__main__":
    main()
