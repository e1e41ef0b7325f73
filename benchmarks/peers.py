"""retouch beside other ways to serve the same pictures, in one run.

`python -m benchmarks.peers [--loras 1 32] [--systems retouch,bare,…] [--side 128]`: all systems run
at the same time, and all but one are idle; every load is applied to each of them in turn, in a new
order, so that other load disturbs all alike. First the whole service is compared with the same
arithmetic called directly, picture by picture, alternating; then come closed loops of 1, 4 and 16
clients, Poisson arrivals at 30, 60 and 90 % of the system's own throughput with 16, and finally 64
clients. One LoRA, 32 with Zipf popularity (copies of the shipped ones with other scales), or with
`--loras 0` none. Peers are installed under var/peers-venv. Results are written to var/benchmarks;
`python -m benchmarks.peers_report` writes docs/benchmarks.md from them.
"""

import argparse
import json
import math
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.likeness import decoded, least_psnr
from benchmarks.load import Measured, closed_loop, poisson
from benchmarks.machine import describe_machine
from benchmarks.peer_servers.pipeline import Wish
from benchmarks.peer_venvs import ROOT
from benchmarks.peers_plan import BARE, CLIENTS, CROWD, PAIRS, RATES, RESULTS, RETOUCH
from benchmarks.service import photo
from benchmarks.systems import SYSTEMS, System

PREVIEWS = 3


@dataclass
class Row:
    """The results of one system: seconds by load, PSNR of its pictures relative to the bare loop's
    in dB.
    """

    name: str
    notes: str
    loads: dict[str, dict[str, float]] = field(default_factory=dict)
    psnr: float = math.inf
    memory_mib: float = 0.0
    first_preview_seconds: float = 0.0


Run = Callable[[System, Row], Measured]


def main() -> None:
    options = _options()
    # Ending this program stops the systems too: none is left running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for loras in options.loras:
        run(options, loras)


def run(options: Any, lora_count: int) -> None:
    """All systems under all loads, with this many LoRAs."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        loras = copies(Path(folder), lora_count)
        systems, missing = started(stack, options.systems.split(","), loras)
        rows = {system.name: Row(system.name, system.notes) for system in systems}
        wishes = Wishes(options.side, [f.stem for f in sorted(loras.glob("*.safetensors"))])
        for system in systems:
            closed_loop(system.picture, wishes.draw(system.warm), 1)
        for system in systems:
            system.settled()
        compare_pictures(systems, rows, wishes)
        overhead = service_over_bare(systems, wishes, max(1, round(PAIRS * options.scale)))
        end = time.monotonic() + options.minutes * 60
        for load, put in loads(options.scale, wishes):
            if time.monotonic() > end:
                print(f"no time left for {load}", flush=True)
                continue
            for system in shuffled(asked(systems, load, options.arrivals)):
                note(rows[system.name], load, put(system, rows[system.name]))
            keep(options, lora_count, rows, missing, overhead)
        for system in systems:
            finish(rows[system.name], system, wishes)
        keep(options, lora_count, rows, missing, overhead)


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loras", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=6, help="after which no load begins")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of pictures")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument(
        "--arrivals", default=",".join(SYSTEMS), help="systems that Poisson arrivals are sent to"
    )
    return parser.parse_args()


def loads(scale: float, wishes: "Wishes") -> Iterator[tuple[str, Run]]:
    """Every load's name, and the function that applies it. Poisson rates depend on the loads
    before.
    """

    def drawn(pictures: int) -> list[Wish]:
        return wishes.draw(max(1, round(pictures * scale)))

    def closed(clients: int, pictures: int) -> Run:
        return lambda system, _: closed_loop(system.picture, drawn(pictures), clients)

    def open_(share: float, pictures: int) -> Run:
        def run(system: System, row: Row) -> Measured:
            rate = share * row.loads["16 clients"]["per_second"]
            return poisson(system.picture, drawn(pictures), rate, seed=1)

        return run

    for clients in (each for each in CLIENTS if each != CROWD):
        yield f"{clients} clients", closed(clients, CLIENTS[clients])
    for share, pictures in RATES.items():
        yield f"{share:.0%} load", open_(share, pictures)
    yield f"{CROWD} clients", closed(CROWD, CLIENTS[CROWD])


def started(
    stack: ExitStack, names: Sequence[str], loras: Path
) -> tuple[list[System], dict[str, str]]:
    """The running systems, and why the others do not run."""
    running, missing = [], dict[str, str]()
    for name in names:
        try:
            running.append(replace(stack.enter_context(SYSTEMS[name](loras)), key=name))
        except (Exception, SystemExit) as error:
            missing[name] = str(error).splitlines()[-1] if str(error) else type(error).__name__
            print(f"{name} is missing: {missing[name]}", flush=True)
    return running, missing


class Wishes:
    """Draws LoRAs with Zipf popularity, and pictures and seeds that are never repeated.

    A service with many users never sees the same picture twice, so a cache of pictures must not
    help.
    """

    def __init__(self, side: int, loras: list[str]) -> None:
        self.side, self.loras = side, loras
        self._random = random.Random(7)
        self._weights = [1 / rank for rank in range(1, len(loras) + 1)]
        self._seed = 0

    def draw(self, count: int) -> list[Wish]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Wish:
        self._seed += 1
        lora = self._random.choices(self.loras, self._weights)[0] if self.loras else "none"
        return Wish(photo(self.side, moved=self._seed), lora, self._seed)


def copies(folder: Path, count: int) -> Path:
    """This many different LoRAs: shipped ones with slightly different strengths. The compiled loop
    can exchange only LoRAs for the same layers.
    """
    files = sorted((ROOT / "loras").glob("*.safetensors"))
    layers = {file: names_in(file) for file in files}
    shipped = [file for file in files if layers[file] == layers[files[0]]]
    for index in range(count):
        source = shipped[index % len(shipped)]
        with safe_open(source, "pt") as file:
            metadata, names = file.metadata(), file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        factor = 1 - 0.01 * (index // len(shipped))
        scaled = {k: v * factor if ".lora_B." in k or "up" in k else v for k, v in tensors.items()}
        save_file(scaled, folder / f"lora{index:02}_tiny.safetensors", metadata)
    return folder


def names_in(file: Path) -> frozenset[str]:
    """The names of a file's tensors."""
    with safe_open(file, "pt") as opened:
        return frozenset(opened.keys())


def asked(systems: Sequence[System], load: str, arrivals: str) -> list[System]:
    """The systems that this load is applied to."""
    wanted = arrivals.split(",")
    return [one for one in systems if not load.endswith("% load") or one.key in wanted]


def shuffled(systems: Sequence[System]) -> list[System]:
    return random.sample(list(systems), len(systems))


def note(row: Row, load: str, measured: Measured) -> None:
    row.loads[load] = {
        "p50": measured.quantile(0.5),
        "p95": measured.quantile(0.95),
        "p99": measured.quantile(0.99),
        "per_second": measured.per_second,
        "pictures": len(measured.seconds),
    }
    print(
        f"{load:12} {row.name:28} p50 {measured.quantile(0.5):7.3f} s, "
        f"p95 {measured.quantile(0.95):7.3f} s, {measured.per_second:5.2f} pictures/s",
        flush=True,
    )


def compare_pictures(systems: Sequence[System], rows: dict[str, Row], wishes: Wishes) -> None:
    """The lowest PSNR of two pictures relative to the bare loop's for the same requests."""
    references = [system for system in systems if system.name == BARE]
    if not references:
        return
    drawn = wishes.draw(2)
    expected = [decoded(references[0].picture(wish)) for wish in drawn]
    for system in systems:
        made = [decoded(system.picture(wish)) for wish in drawn]
        rows[system.name].psnr = least_psnr(made, expected)


def service_over_bare(systems: Sequence[System], wishes: Wishes, pairs: int) -> float | None:
    """One client's time through the whole service, relative to the same arithmetic called directly.

    The median of pairs that follow each other closely; None if one of the two does not run.
    """
    named = {system.name: system for system in systems}
    if not {RETOUCH, BARE} <= named.keys():
        return None
    ratio = statistics.median(_paired(named[RETOUCH], named[BARE], wishes) for _ in range(pairs))
    print(f"one client, whole service / bare, {pairs} pairs: {ratio:.2f}", flush=True)
    return ratio


def _paired(one: System, other: System, wishes: Wishes) -> float:
    (wish,) = wishes.draw(1)
    pair = [one, other]
    seconds = {
        each.name: closed_loop(each.picture, [wish], 1).seconds[0] for each in shuffled(pair)
    }
    return seconds[one.name] / seconds[other.name]


def finish(row: Row, system: System, wishes: Wishes) -> None:
    row.memory_mib = system.memory()
    waited = []
    for wish in wishes.draw(PREVIEWS):
        began = time.perf_counter()
        system.first_preview(wish)
        waited.append(time.perf_counter() - began)
    row.first_preview_seconds = statistics.median(waited)


def keep(
    options: Any,
    lora_count: int,
    rows: dict[str, Row],
    missing: dict[str, str],
    overhead: float | None,
) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": describe_machine(),
        "torch": torch.__version__,
        "diffusers": version("diffusers"),
        "threads": torch.get_num_threads(),
        "side": options.side,
        "loras": lora_count,
        "overhead": overhead,
        "missing": missing,
        "rows": [asdict(row) for row in rows.values()],
    }
    path = RESULTS / f"peers-{lora_count}.json"
    path.write_text(json.dumps(record, indent=1))
    print(path)


if __name__ == "__main__":
    main()
