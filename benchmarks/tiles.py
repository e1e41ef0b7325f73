"""Large photos: seconds, memory and percentages through the whole service, and the cost of tiles.

`python -m benchmarks.tiles service 12 24` sends photos of this many megapixels through `retouch
up`; `python -m benchmarks.tiles seams` makes pictures in tiles and in one piece, by family: dB
between the two, and how far the worst row or column of the difference exceeds its neighbours;
`python -m benchmarks.tiles cost` compares a large photo with the same number of pixels in separate
pictures of a tile's size (`--device cuda --family sd15` with a base of a real size).
"""

import argparse
import io
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch
from PIL import Image
from skimage import data

from benchmarks.machine import describe_machine
from benchmarks.real_size import base_folder
from benchmarks.service import running_service
from retouch.client import Client
from shared.settings import REPOSITORY
from tests.support.checkpoints import make_sd15, make_sdxl
from tests.support.engine_jobs import make_job, psnr, run_all, start_engine
from tests.unit.worker.engine.step.test_tiles import seam_ratio
from worker.engine.base.base_loading import load_base
from worker.engine.base.profiles import choose_limits
from worker.engine.base.tile_size import WHOLE, TileSize
from worker.engine.interface import Pixels
from worker.engine.step.step_engine import StepEngine
from worker.engine.step.tiles import plan_tiles

MIB = 2**20
LOOK_SECONDS = 0.5
NOISE = 8.0
# Pictures of one tile before each large photo.
SINGLES = 8
# A picture in one piece, on a machine that others use too, s.
PATIENCE = 900.0


def photo(width: int, height: int) -> Pixels:
    """A real photo enlarged, with a camera's noise added."""
    picture = Image.fromarray(np.asarray(data.astronaut())).resize((width, height))
    noise = np.random.default_rng(0).normal(0, NOISE, (256, 256, 3)).astype(np.float32)
    tiled = np.tile(noise, (-(-height // 256), -(-width // 256), 1))[:height, :width]
    return np.clip(np.asarray(picture) + tiled, 0, 255).astype(np.uint8)


class Peaks:
    """The largest resident memory of each kind of process in a process tree, MiB."""

    def __init__(self, parent: int) -> None:
        self.mib: dict[str, float] = {}
        self._parent = psutil.Process(parent)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    @contextmanager
    def watching(self) -> Iterator["Peaks"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for process in self._parent.children(recursive=True):
                self._look(process)

    def _look(self, process: psutil.Process) -> None:
        try:
            kind, used = _kind(" ".join(process.cmdline())), process.memory_info().rss / MIB
        except psutil.Error:
            return
        self.mib[kind] = max(used, self.mib.get(kind, 0.0))


def _kind(command: str) -> str:
    words = {
        "engine_child": "worker",
        "decoder_child": "decoder",
        "redis": "store",
        "api": "gateway",
    }
    return next((kind for word, kind in words.items() if word in command), "other")


def through_the_service(client: Client, megapixels: float, width: int, height: int) -> None:
    """Sends one photo through the service and prints the result."""
    out = io.BytesIO()
    Image.fromarray(photo(width, height)).save(out, "JPEG", quality=92)
    percents: list[float] = []
    started = time.perf_counter()
    job = client.submit(out.getvalue(), lora="denoise", strength=0.1, preview=True)
    done = client.wait(job, on_progress=lambda progress: percents.append(progress.percent))
    picture = client.image(done)
    seconds = time.perf_counter() - started
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size == (width, height)
    assert percents == sorted(percents)
    gaps = max(np.diff([0.0, *percents]))
    print(
        f"{megapixels:g} MP {width}x{height}: {seconds:.0f} s, {len(picture) / MIB:.0f} MiB, "
        f"{len(set(percents))} percentages, largest gap {gaps:.1f}, {done.degraded=}"
    )
    print(f"    {done.timings}", flush=True)


def service(sizes: list[float]) -> None:
    """Whole photos through `retouch up`, with its processes' memory."""
    with TemporaryDirectory() as folder, running_service(Path(folder), {}) as (url, parent):
        client = Client(url)
        for megapixels in sizes:
            width = round((megapixels * 1e6 * 4 / 3) ** 0.5 / 8) * 8
            with Peaks(parent).watching() as peaks:
                through_the_service(client, megapixels, width, width * 3 // 4)
            print(f"    peak MiB: { {k: round(v) for k, v in peaks.mib.items()} }", flush=True)


def compared(engine: StepEngine, pixels: Pixels, tiles: TileSize, strength: float) -> str:
    """Tiles compared with one piece: dB, seam ratio, seconds of each."""
    job = make_job(pixels=pixels, strength=strength, steps=10)
    made, seconds = [], []
    for size in (WHOLE, tiles):
        engine._limits = replace(engine._limits, tile_size=size)
        started = time.perf_counter()
        made.append(run_all(engine, [job], seconds=PATIENCE)[0].pixels)
        seconds.append(time.perf_counter() - started)
    grid = plan_tiles(pixels.shape[0], pixels.shape[1], tiles)
    return (
        f"{len(grid.rows.starts)}x{len(grid.columns.starts)} tiles of {grid.rows.side * 16}x"
        f"{grid.columns.side * 16}: {psnr(*made):.1f} dB, seam ratio {seam_ratio(*made):.2f}, "
        f"whole {seconds[0]:.1f} s, tiled {seconds[1]:.1f} s"
    )


def seams() -> None:
    """The embedded base at its own sizes, SD 1.5 and SDXL as small checkpoints of their classes."""
    loaded = load_base(str(REPOSITORY / "models" / "tiny"), torch.device("cpu"))
    tiny = StepEngine(loaded, choose_limits(loaded))
    for strength in (0.1, 0.4):
        told = compared(tiny, photo(1024, 1024), TileSize(512, 32, 128), strength)
        print(f"tiny 1024x1024, strength {strength}, {told}", flush=True)
    tiny.close()
    small: dict[str, Callable[[Path], Path]] = {"sd15": make_sd15, "sdxl": make_sdxl}
    for name, make in small.items():
        with TemporaryDirectory() as folder:
            engine = start_engine(make(Path(folder) / "base"))
            for width, height in ((176, 176), (432, 272)):
                told = compared(engine, photo(width, height), TileSize(100, 32, 64), 0.4)
                print(f"{name} {width}x{height}, four steps, {told}", flush=True)
            engine.close()


def cost(megapixels: float, rounds: int, base: Path, device: torch.device) -> None:
    """A large photo relative to its own pixels in pictures of one tile, in turns."""
    loaded = load_base(str(base), device)
    limits = choose_limits(loaded)
    engine, width = StepEngine(loaded, limits), round((megapixels * 1e6 * 4 / 3) ** 0.5 / 16) * 16
    height = width * 3 // 64 * 16
    grid = plan_tiles(height, width, limits.tile_size)
    window = grid.windows[0]
    one = photo(window.right - window.left, window.bottom - window.top)
    large, apart = photo(width, height), width * height / (one.shape[0] * one.shape[1])
    ratios = []
    for _ in range(rounds):
        alone = statistics.median(seconds_of(engine, one) for _ in range(SINGLES))
        ratios.append(seconds_of(engine, large) / (alone * apart))
    engine.close()
    print(
        f"{width}x{height} in {len(grid.windows)} tiles of {one.shape[1]}x{one.shape[0]}, which "
        f"have {grid.share:.3f} of its pixels: {statistics.median(ratios):.3f} of the time of "
        f"{apart:.1f} such pictures, {min(ratios):.3f} to {max(ratios):.3f} in {rounds} rounds"
    )


def seconds_of(engine: StepEngine, pixels: Pixels) -> float:
    """Seconds for a picture without a LoRA in one step, which most LoRAs take."""
    started = time.perf_counter()
    run_all(engine, [make_job(pixels=pixels, strength=0.1, steps=10)], seconds=PATIENCE)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part")
    parts.add_parser("seams", help="pictures in tiles and in one piece, by family")
    large = parts.add_parser("cost", help="a large photo beside as many pixels in single pictures")
    large.add_argument("megapixels", nargs="?", type=float, default=12.0)
    large.add_argument("--rounds", type=int, default=3)
    large.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    large.add_argument("--family", choices=["tiny", "sd15", "sdxl"], default="tiny")
    large.add_argument("--small", action="store_true", help="small sizes of that family")
    whole = parts.add_parser("service", help="large photos through the whole service")
    whole.add_argument("megapixels", nargs="*", type=float, default=[12.0, 24.0])
    options = parser.parse_args()
    print(describe_machine(), flush=True)
    if options.part == "service":
        service(options.megapixels)
    elif options.part == "cost":
        base = base_folder(options.family, options.small)
        cost(options.megapixels, options.rounds, base, options.device)
    else:
        seams()


if __name__ == "__main__":
    main()
