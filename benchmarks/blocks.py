"""Compiled blocks (worker/engine/compiled) beside the engine without them, in turns in one run.

`python -m benchmarks.blocks [--folder out/blocks] [--rounds 7]`: code is made first, unless the
folder has it, which takes minutes; then each round runs both engines once, in a new order, on a new
picture. Seconds are the least of all rounds, by the clock and of the processor, which other
programs disturb less. The ratios are eager seconds by compiled ones. `--device cuda --family sd15`
takes a base of a real size with random weights, with CUDA graphs in both engines; `--device cpu
--family sd15 --small` runs the same on small sizes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from skimage import data

from benchmarks.likeness import in_words, least_psnr
from benchmarks.real_size import base_folder
from benchmarks.rounds import Spent, measured
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from worker.engine.base.base_loading import load_base
from worker.engine.base.disk_key import device_name
from worker.engine.base.profiles import choose_limits
from worker.engine.compiled.background import Background
from worker.engine.compiled.toolchain import has_compiler
from worker.engine.compiled.use import CompiledBlocks
from worker.engine.interface import EngineJob, Pixels
from worker.engine.step.step_engine import StepEngine

LORAS = Path(__file__).resolve().parent.parent / "loras"
EAGER, COMPILED = "eager", "compiled"
LORA = "restore_tiny"
MIB = 2**20

# Rounds before the measured ones on a GPU, in which graphs are captured with the code.
WARM_ROUNDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/blocks"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--family", choices=["tiny", "sd15", "sdxl"], default="tiny")
    parser.add_argument("--small", action="store_true", help="small sizes of that family")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    eager = _engine(options, None)
    before = _memory(options.device)
    makes = has_compiler(options.device)
    background = Background(options.folder, makes, patience=5.0, niceness=0, device=options.device)
    compiled = _engine(options, background)
    print(f"torch {torch.__version__}, {options.threads} threads, {device_name(options.device)}")
    cases = _cases() if options.family == "tiny" else _family_cases(64 if options.small else 512)
    _make(compiled, background, next(iter(cases.values()))(0))
    print(f"memory: {before} MiB with one base, {_memory(options.device)} MiB with both and code")
    for jobs in cases.values():
        for number in range(WARM_ROUNDS if options.device.type == "cuda" else 0):
            _pictures(eager, jobs(-1 - number)), _pictures(compiled, jobs(-1 - number))
    arms = {EAGER: partial(_pictures, eager), COMPILED: partial(_pictures, compiled)}
    print("| pictures | eager, s | compiled, s | ratio | of the processor | PSNR, dB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, jobs in cases.items():
        _show(name, measured(arms, (jobs(n) for n in range(options.rounds + 1))))
    eager.close()
    compiled.close()


def _engine(options: Any, background: Background | None) -> StepEngine:
    base = base_folder(options.family, options.small)
    loaded = load_base(str(base), options.device, "auto")
    pipeline, blocks = loaded.pipeline, None
    if background is not None:
        blocks = CompiledBlocks({"unet": pipeline.unet, "vae": pipeline.vae}, background)
    return StepEngine(loaded, choose_limits(loaded), None, blocks)


def _make(engine: StepEngine, background: Background, jobs: Sequence[EngineJob]) -> None:
    started = time.perf_counter()
    _pictures(engine, jobs)
    while background.state in ("waiting", "compiling"):
        time.sleep(0.5)
    result = _results(engine, jobs)[0]
    print(f"code: {time.perf_counter() - started:.0f} s; {background.shown()}; {result.ran_by}")


def _cases() -> dict[str, Callable[[int], list[EngineJob]]]:
    lora = _lora()
    return {
        "128 px": lambda n: [_job(128, 128, n)],
        "four of 128 px in one step": lambda n: [_job(128, 128, 4 * n + i) for i in range(4)],
        "512 px": lambda n: [_job(512, 512, n)],
        "512 px, a LoRA of one step": lambda n: [_with(_job(512, 512, n), lora)],
        "768 x 1024": lambda n: [_job(768, 1024, n)],
    }


def _family_cases(side: int) -> dict[str, Callable[[int], list[EngineJob]]]:
    def guided(number: int) -> EngineJob:
        return replace(_job(side, side, number), guidance_scale=7.5)

    return {
        f"{side} px": lambda n: [guided(n)],
        f"eight of {side} px at once": lambda n: [guided(8 * n + i) for i in range(8)],
    }


def _lora() -> LoraEntry:
    catalog = Catalog(LORAS, "tiny")
    catalog.scan()
    known = {entry.name: entry for entry in catalog.entries()}
    assert known[LORA].state is LoraState.AVAILABLE
    return known[LORA]


def _job(width: int, height: int, number: int) -> EngineJob:
    photo = np.tile(np.roll(np.asarray(data.astronaut()), number, axis=1), (2, 2, 1))
    pixels = np.ascontiguousarray(photo[:height, :width])
    return EngineJob(pixels, "a photo", "", 0.4, 10, 1.0, 1, preview=False)


def _with(job: EngineJob, entry: LoraEntry) -> EngineJob:
    own = {"strength": 0.3, "steps": 1, "prompt": "restore", "fidelity": "low"}  # as in its .toml
    return replace(job, loras=((entry, 1.0),), **own)


def _results(engine: StepEngine, jobs: Sequence[EngineJob]) -> list[Any]:
    futures = [engine.submit(job, lambda _: None) for job in jobs]
    return [future.result() for future in futures]


def _pictures(engine: StepEngine, jobs: Sequence[EngineJob]) -> list[Pixels]:
    return [result.pixels for result in _results(engine, jobs)]


def _show(name: str, spent: dict[str, list[Spent[list[Pixels]]]]) -> None:
    eager, compiled = (min(one.clock for one in spent[arm]) for arm in (EAGER, COMPILED))
    own, other = (min(one.processor for one in spent[arm]) for arm in (EAGER, COMPILED))
    pairs = zip(spent[EAGER], spent[COMPILED], strict=True)
    likeness = min(least_psnr(one.made, two.made) for one, two in pairs)
    print(
        f"| {name} | {eager:.3f} | {compiled:.3f} | {eager / compiled:.2f} | {own / other:.2f} "
        f"| {in_words(likeness)} |",
        flush=True,
    )


def _memory(device: torch.device) -> int:
    """Memory that this process has on the device, in MiB; on a CPU its main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) // MIB
    return int(psutil.Process().memory_info().rss) // MIB


if __name__ == "__main__":
    main()
