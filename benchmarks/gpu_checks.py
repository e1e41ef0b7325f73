"""Everything that a GPU decides, in one run of a few minutes: tests, stages, compiled blocks, tiles
and TensorRT.

`python -m benchmarks.gpu_checks [--minutes 12] [--out out/gpu]`: one program after the other, each
with its share of the time; what each says is printed and kept in a file of its name. One that
fails or takes too long does not stop the others. `--device cpu --small` runs everything except
CUDA itself. Exits with the number of programs that failed.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Lines of a program's output that are shown.
SHOWN = 60


@dataclass(frozen=True)
class Check:
    """A program, and the share of the whole time that it may take."""

    name: str
    share: float
    arguments: tuple[str, ...]
    needs: str = ""


def checks(device: str, small: bool) -> list[Check]:
    own = ("--device", device, *(["--small"] if small else []))
    quick = ("--side", "64", "--batches", "1", "--rounds", "1", "--pictures", "2") if small else ()
    stages = quick or ("--batches", "1", "8")
    rounds = ("--rounds", "1") if small else ("--rounds", "9")
    size = "0.05" if small else "12"
    tests = ("pytest", "-q", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider")
    found = [Check("tests", 0.3, tests), Check("stages", 0.5, ("benchmarks.gpu", *own, *stages))]
    for family in ("sd15", "sdxl"):
        part = ("--family", family, *own)
        found += [
            Check(f"blocks-{family}", 0.3, ("benchmarks.blocks", *part, *rounds)),
            Check(f"tiles-{family}", 0.15, ("benchmarks.tiles", "cost", size, *part)),
        ]
    built = ("worker.engine.built", "--size", "512x512", "--batch", "1", "8")
    return [*found, Check("tensorrt", 0.3, built, needs="torch_tensorrt")]


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + options.minutes * 60
    failed = 0
    for check in checks(options.device, options.small):
        if check.needs and find_spec(check.needs) is None:
            print(f"## {check.name}: {check.needs} is not installed", flush=True)
            continue
        seconds = min(check.share * options.minutes * 60, ends - time.monotonic())
        failed += not _passes(check, seconds, options.out)
    return failed


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    return parser.parse_args()


def _passes(check: Check, seconds: float, out: Path) -> bool:
    """Whether the program ends well in time; prints the end of what it says."""
    if seconds <= 0:
        print(f"## {check.name}: no time left", flush=True)
        return False
    log, started = out / f"{check.name}.txt", time.monotonic()
    with log.open("w") as file:
        try:
            code = subprocess.run(
                [sys.executable, "-m", *check.arguments],
                stdout=file,
                stderr=file,
                timeout=seconds,
                env=os.environ | {"TRANSFORMERS_VERBOSITY": "error"},
            ).returncode
            ended = "ok" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            ended = "ended by its time"
    print(f"## {check.name}: {ended}, {time.monotonic() - started:.0f} s; {log}")
    print("\n".join(log.read_text().splitlines()[-SHOWN:]), flush=True)
    return ended == "ok"


if __name__ == "__main__":
    sys.exit(main())
