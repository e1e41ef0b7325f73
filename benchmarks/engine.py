"""The engine against the bare pipeline, as ratios in one run.

`python -m benchmarks.engine [--side 512] [--rounds 7]`: every round runs each arm once, in a new
order, so that a noisy neighbour disturbs all of them alike; what is shown is the median of the
rounds' own ratios. Arms: diffusers' loop called bare; the step engine without a LoRA, with a
resident one, with a cold one; and loading and unloading the LoRA around every picture.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data

from benchmarks.likeness import in_words, psnr
from benchmarks.peer_servers.pipeline import compute_as_the_worker
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from worker.engine.fidelity import pad_to_multiple
from worker.engine.interface import EngineJob, Pixels
from worker.engine.loading import LoadedBase, load_base
from worker.engine.pixels import scaled_to_side, to_pixels, to_tensor
from worker.engine.profiles import choose_limits
from worker.engine.step_engine import StepEngine

Arm = Callable[[], Pixels]
LORAS = Path(__file__).resolve().parent.parent / "loras"


def main() -> None:
    arguments = _arguments()
    loaded = load_base(arguments.base, torch.device("cpu"), arguments.precision)
    bare = load_base(arguments.base, torch.device("cpu"), arguments.precision)
    compute_as_the_worker(bare)
    entry = _some_lora(loaded.base.id)
    job = _job(arguments.side)
    engine = StepEngine(loaded, choose_limits(loaded))
    arms = {
        "bare diffusers loop": lambda: bare_picture(bare, job),
        "step engine": lambda: _through(engine, job),
        "step engine, resident LoRA": lambda: _through(engine, _with(job, entry)),
        "step engine, cold LoRA": lambda: _cold(engine, _with(job, entry)),
        "load and unload per picture": lambda: _load_and_unload(bare, job, entry),
    }
    _show(arms, _rounds(arms, arguments.rounds))
    engine.close()


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="models/tiny")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args()


def _some_lora(base: str) -> LoraEntry:
    catalog = Catalog(LORAS, base)
    catalog.scan()
    return next(e for e in catalog.entries() if e.state is LoraState.AVAILABLE)


def _job(side: int) -> EngineJob:
    photo = scaled_to_side(np.asarray(data.astronaut()), side)
    return EngineJob(photo, "a photo", "", 0.4, 10, 1.0, seed=1, preview=False)


def _with(job: EngineJob, entry: LoraEntry) -> EngineJob:
    return replace(job, loras=((entry, 1.0),))


def _through(engine: StepEngine, job: EngineJob) -> Pixels:
    return engine.submit(job, lambda _: None).result().pixels


def _cold(engine: StepEngine, job: EngineJob) -> Pixels:
    engine.forget_loras()
    return _through(engine, job)


def bare_picture(loaded: LoadedBase, job: EngineJob) -> Pixels:
    """The job's arithmetic by diffusers' own loop, with whatever LoRA is active in it."""
    source = pad_to_multiple(to_tensor(job.pixels, loaded.device, loaded.dtype), 16)
    answer = loaded.pipeline(
        prompt=job.prompt,
        image=(source + 1) / 2,
        strength=job.strength,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(job.seed),
        output_type="pt",
    )
    return to_pixels(answer.images * 2 - 1)


def _load_and_unload(loaded: LoadedBase, job: EngineJob, entry: LoraEntry) -> Pixels:
    loaded.pipeline.load_lora_weights(str(entry.path.parent), weight_name=entry.path.name)
    try:
        return bare_picture(loaded, job)
    finally:
        loaded.pipeline.unload_lora_weights()


def _rounds(arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in arms}
    for name in arms:
        arms[name]()  # warm
    for _ in range(rounds):
        for name in random.sample(list(arms), len(arms)):
            started = time.perf_counter()
            arms[name]()
            times[name].append(time.perf_counter() - started)
    return times


def _show(arms: dict[str, Arm], times: dict[str, list[float]]) -> None:
    base = times[next(iter(arms))]
    reference = arms[next(iter(arms))]()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("| arm | median s | of the bare loop | PSNR to the bare loop, dB |")
    print("| --- | --- | --- | --- |")
    for name, seconds in times.items():
        ratio = statistics.median(own / bare for own, bare in zip(seconds, base, strict=True))
        likeness = in_words(psnr(arms[name](), reference))
        print(f"| {name} | {statistics.median(seconds):.3f} | {ratio:.2f} | {likeness} |")


if __name__ == "__main__":
    main()
