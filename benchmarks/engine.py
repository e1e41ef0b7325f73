"""The engine compared with the bare pipeline, as ratios in one run.

`python -m benchmarks.engine [--side 512] [--rounds 7]`: every round runs each variant once, in a
new order, on a new picture, so that other load disturbs all of them alike and no cache helps; the
results are medians of each round's ratios. Variants: diffusers' bare loop; the step engine without
a LoRA, with a resident one, with a cold one; and diffusers' loop with loading and unloading the
LoRA around every picture. PSNR is relative to diffusers' picture with the same LoRA.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import data

from benchmarks.likeness import in_words, least_psnr
from benchmarks.peer_servers.pipeline import compute_as_the_worker
from benchmarks.rounds import Spent, measured
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.fidelity import pad_to_multiple
from worker.engine.interface import EngineJob, Pixels
from worker.engine.pixels import scaled_to_side, to_pixels, to_tensor
from worker.engine.step.step_engine import StepEngine

Arm = Callable[[EngineJob], Pixels]
BARE, LOADING = "bare diffusers loop", "load and unload per picture"
LORAS = Path(__file__).resolve().parent.parent / "loras"


def main() -> None:
    arguments = _arguments()
    loaded = load_base(arguments.base, torch.device("cpu"), arguments.precision)
    bare = load_base(arguments.base, torch.device("cpu"), arguments.precision)
    compute_as_the_worker(bare)
    entry = _some_lora(loaded.base.id)
    engine = StepEngine(loaded, choose_limits(loaded))
    arms: dict[str, Arm] = {
        BARE: lambda job: bare_picture(bare, job),
        "step engine": lambda job: _through(engine, job),
        "step engine, resident LoRA": lambda job: _through(engine, _with(job, entry)),
        "step engine, cold LoRA": lambda job: _cold(engine, _with(job, entry)),
        LOADING: lambda job: _load_and_unload(bare, job, entry),
    }
    jobs = [_job(arguments.side, number) for number in range(arguments.rounds + 1)]
    _show(measured(arms, jobs))
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


def _job(side: int, number: int) -> EngineJob:
    photo = np.roll(scaled_to_side(np.asarray(data.astronaut()), side), number, axis=1)
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


def _show(spent: dict[str, list[Spent[Pixels]]]) -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("| arm | median s | of the bare loop | PSNR to diffusers' loop, dB |")
    print("| --- | --- | --- | --- |")
    for name, rounds in spent.items():
        seconds = statistics.median(one.clock for one in rounds)
        pairs = zip(rounds, spent[BARE], strict=True)
        ratio = statistics.median(own.clock / bare.clock for own, bare in pairs)
        expected = spent[LOADING if "LoRA" in name or name == LOADING else BARE]
        likeness = least_psnr((r.made for r in rounds), (r.made for r in expected))
        print(f"| {name} | {seconds:.3f} | {ratio:.2f} | {in_words(likeness)} |")


if __name__ == "__main__":
    main()
