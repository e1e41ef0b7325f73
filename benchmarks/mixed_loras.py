"""Many pictures with different LoRAs: in one batch through the step engine, or one after the other
through diffusers' own eager loop with the same LoRAs in PEFT.

Every picture of every round has new pixels and a new prompt, so that no cache helps. The variants
alternate. The result is the ratio of their medians, and the similarity of the pictures. Part of
benchmarks/gpu.py.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from skimage import data

from benchmarks.engine import bare_picture
from benchmarks.likeness import in_words, least_psnr
from benchmarks.real_size import write_lora
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from worker.engine.base.base_loading import load_base
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob, Pixels
from worker.engine.pixels import scaled_to_side
from worker.engine.step.step_engine import StepEngine

Arm = Callable[[Sequence[EngineJob]], list[Pixels]]
RANKS = (8, 32, 8, 32)
SCALE = 4.0  # random LoRAs have small effects, and a wrong one must be visible in the PSNR
WARM_ROUNDS = 3  # shapes are captured only after some steps with them


class Round(NamedTuple):
    """Seconds of both variants for the same pictures, and the lowest PSNR between the two."""

    bare: float
    engine: float
    psnr: float


def compare(base: LoadedBase, checkpoint: Path, side: int, pictures: int, rounds: int) -> None:
    """Prints both variants for the checkpoint of `base`; `base` is the engine's."""
    entries = make_loras(base, checkpoint)
    engine = StepEngine(base, choose_limits(base))
    bare = _with_loras(load_base(str(checkpoint), base.device), entries)
    arms: tuple[Arm, Arm] = (
        lambda jobs: [_bare_with_lora(bare, job) for job in jobs],
        lambda jobs: _through(engine, jobs),
    )
    try:
        done = [
            _round(arms, _jobs(side, pictures, entries, number), engine_first=number % 2 == 0)
            for number in range(WARM_ROUNDS + rounds)
        ]
    finally:
        engine.close()
    show(done[WARM_ROUNDS:], pictures)


def show(rounds: Sequence[Round], pictures: int) -> None:
    bare, engine, psnr = zip(*rounds, strict=True)
    title = f"{pictures} pictures, {len(RANKS)} LoRAs"
    print(f"\n| {title} | s | pictures/s | of the bare loop | PSNR, dB |")
    print("| --- | --- | --- | --- | --- |")
    arms = (
        ("bare diffusers loop, eager", bare, math.inf),
        ("step engine, at once", engine, min(psnr)),
    )
    for name, seconds, likeness in arms:
        middle = statistics.median(seconds)
        cells = f"{middle:.3f} | {pictures / middle:.2f} | {statistics.median(bare) / middle:.2f}"
        print(f"| {name} | {cells} | {in_words(likeness)} |")
    print()


def make_loras(base: LoadedBase, checkpoint: Path) -> list[LoraEntry]:
    """Random LoRAs on every attention projection, written beside the checkpoint."""
    folder = checkpoint.parent / f"{checkpoint.name}-loras"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"mixed{index}_rank{rank}.safetensors" for index, rank in enumerate(RANKS)]
    for seed, (path, rank) in enumerate(zip(paths, RANKS, strict=True)):
        write_lora(base.pipeline.unet, path, seed, rank, "diffusers")
    return [check_file(path) for path in paths]


def _with_loras(loaded: LoadedBase, entries: Sequence[LoraEntry]) -> LoadedBase:
    for entry in entries:
        loaded.pipeline.load_lora_weights(
            str(entry.path.parent), weight_name=entry.path.name, adapter_name=entry.path.stem
        )
    return loaded


def _jobs(side: int, pictures: int, entries: Sequence[LoraEntry], number: int) -> list[EngineJob]:
    photo = scaled_to_side(np.asarray(data.astronaut()), side)
    return [_job(photo, entries[i % len(entries)], number * pictures + i) for i in range(pictures)]


def _job(photo: Pixels, lora: LoraEntry, seed: int) -> EngineJob:
    moved = np.roll(photo, seed, axis=1)
    prompt = f"photo number {seed}"
    return EngineJob(moved, prompt, "", 0.4, 10, 7.5, seed, ((lora, SCALE),), preview=False)


def _bare_with_lora(loaded: LoadedBase, job: EngineJob) -> Pixels:
    ((entry, scale),) = job.loras
    loaded.pipeline.set_adapters(entry.path.stem, scale)
    return bare_picture(loaded, job)


def _through(engine: StepEngine, jobs: Sequence[EngineJob]) -> list[Pixels]:
    futures = [engine.submit(job, lambda _: None) for job in jobs]
    return [future.result().pixels for future in futures]


def _round(arms: tuple[Arm, Arm], jobs: Sequence[EngineJob], engine_first: bool) -> Round:
    order = (1, 0) if engine_first else (0, 1)
    done = {index: _timed(arms[index], jobs) for index in order}
    (bare_seconds, expected), (engine_seconds, made) = done[0], done[1]
    return Round(bare_seconds, engine_seconds, least_psnr(made, expected))


def _timed(arm: Arm, jobs: Sequence[EngineJob]) -> tuple[float, list[Pixels]]:
    """Both variants end with pixels in main memory, so the device has finished, too."""
    started = time.perf_counter()
    pictures = arm(jobs)
    return time.perf_counter() - started, pictures
