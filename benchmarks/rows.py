"""How many rows should share a step on this machine's processor.

`python -m benchmarks.rows [--side 128] [--pictures 8] [--rounds 4]`: the engine alone with one, two
and four rows per step, beside diffusers' loop with the LoRA in PEFT, one picture at a time and in
batches of four. One LoRA, the embedded base; pixels in, JPEGs out, and no picture twice, so that
none is in a cache. Variants alternate in a new order each time. Reports processor time and
wall-clock time, the median of each round's ratios to the bare loop, and the lowest PSNR relative to
its pictures.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.likeness import decoded, in_words, least_psnr
from benchmarks.machine import describe_machine
from benchmarks.peer_servers.pipeline import (
    PRECISION,
    PROMPT,
    QUALITY,
    STEPS,
    STRENGTH,
    Pipeline,
    Wish,
)
from benchmarks.peers import Wishes, copies
from benchmarks.rounds import Spent, measured
from benchmarks.service import to_jpeg
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.interface import EngineJob
from worker.engine.step.step_engine import StepEngine

BARE = "bare loop"
Arm = Callable[[Sequence[Wish]], list[bytes]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    print(f"{describe_machine()}; {torch.get_num_threads()} threads; {options.side} px\n")
    with tempfile.TemporaryDirectory() as folder:
        loras = copies(Path(folder), 1)
        catalog = Catalog(loras, "tiny")
        catalog.scan()
        (entry,) = catalog.entries()
        engines = {rows: _engine(rows) for rows in (1, 2, 4)}
        pipeline = Pipeline(loras)
        arms: dict[str, Arm] = {BARE: _bare(pipeline, 1)}
        arms["bare loop, batches of four"] = _bare(pipeline, 4)
        arms |= {f"engine, rows a step: {n}": _through(e, entry) for n, e in engines.items()}
        wishes = Wishes(options.side, [entry.path.stem])
        drawn = (wishes.draw(options.pictures) for _ in range(options.rounds + 1))
        show(measured(arms, drawn), options.pictures)
        for engine in engines.values():
            engine.close()


def _engine(rows: int) -> StepEngine:
    loaded = load_base("models/tiny", torch.device("cpu"), PRECISION)
    return StepEngine(loaded, replace(choose_limits(loaded), rows_per_step=rows, pixels_per_step=0))


def _through(engine: StepEngine, entry: LoraEntry) -> Arm:
    def run(wishes: Sequence[Wish]) -> list[bytes]:
        futures = [engine.submit(_job(wish, entry), lambda _: None) for wish in wishes]
        return [to_jpeg(future.result().pixels, QUALITY) for future in futures]

    return run


def _job(wish: Wish, entry: LoraEntry) -> EngineJob:
    pixels = decoded(wish.image)
    loras = ((entry, 1.0),)
    return EngineJob(pixels, PROMPT, "", STRENGTH, STEPS, 1.0, wish.seed, loras, preview=False)


def _bare(pipeline: Pipeline, batch: int) -> Arm:
    def run(wishes: Sequence[Wish]) -> list[bytes]:
        starts = range(0, len(wishes), batch)
        return [made for at in starts for made in pipeline.pictures(wishes[at : at + batch])]

    return run


def show(spent: dict[str, list[Spent[list[bytes]]]], pictures: int) -> None:
    print("| arm | processor, ms a picture | clock, ms a picture | of the bare loop | PSNR, dB |")
    print("| --- | --- | --- | --- | --- |")
    each = 1000 / pictures
    for name, rounds in spent.items():
        processor = statistics.median(one.processor for one in rounds) * each
        clock = statistics.median(one.clock for one in rounds) * each
        pairs = list(zip(rounds, spent[BARE], strict=True))
        ratio = statistics.median(own.clock / bare.clock for own, bare in pairs)
        likeness = in_words(min(_likeness(own, bare) for own, bare in pairs))
        print(f"| {name} | {processor:.0f} | {clock:.0f} | {ratio:.2f} | {likeness} |")


def _likeness(own: Spent[list[bytes]], bare: Spent[list[bytes]]) -> float:
    return least_psnr(map(decoded, own.made), map(decoded, bare.made))


if __name__ == "__main__":
    main()
