"""`python -m worker.engine.compiled.making PARENT FOLDER FILES NICENESS DEVICE`: makes code for
wishes.

A process of its own, so that the compiler's memory goes with it and the worker's interpreter is
free. It has one thread and the given niceness, and ends with the worker. The wishes come by its
input; it writes one line of JSON for each.
"""

import gc
import json
import os
import pickle
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.die_with_parent import die_with
from worker.engine.compiled.regions import Kind
from worker.engine.compiled.shelf import Shelf

# When memory runs out, the system is to end this process first.
_FIRST_TO_GO = "1000"

# On a GPU, beside the 0.5 GB that every process needs there.
MOST_DEVICE_BYTES = 2**30

# So many failures without a success are the compiler's.
_ENOUGH = 3


@dataclass(frozen=True)
class Wish:
    """A kind to make, and the skeleton of a block of it."""

    kind: Kind
    module: Any


def main() -> int:
    """Makes what the wishes ask for; a failure of one is no failure of the others."""
    die_with(int(sys.argv[1]))
    os.nice(int(sys.argv[4]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    folder, files = Path(sys.argv[2]), Path(sys.argv[3])
    wishes: list[Wish] = pickle.load(sys.stdin.buffer)
    # What torch and its compiler say goes to standard error; the answers keep standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    device = _device(sys.argv[5])
    shelf, failed, works = Shelf(folder), list[Wish](), False
    for wish in wishes:
        answer = _made(wish, shelf, device, files)
        answers.write(json.dumps(answer) + "\n")
        works |= "gain" in answer
        failed += [wish] if "reason" in answer else []
        if not works and len(failed) == _ENOUGH:
            break
        gc.collect()
    for wish in failed if works else []:
        # The next start need not try again: it is not for want of a compiler that works.
        shelf.put(wish.kind, None, 0.0)
    return 0


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        _, whole = torch.cuda.mem_get_info(device)
        # The jobs beside this process keep their memory.
        torch.cuda.set_per_process_memory_fraction(min(1.0, MOST_DEVICE_BYTES / whole), device)
    return device


def _made(wish: Wish, shelf: Shelf, device: torch.device, files: Path) -> dict[str, Any]:
    from worker.engine.compiled.tracing import DoesNotPay, make

    started, answer = time.perf_counter(), {"kind": wish.kind.digest}
    try:
        code, gain = make(wish.module, wish.kind, device, files)
        shelf.put(wish.kind, code, gain)
        return {**answer, "gain": gain, "seconds": time.perf_counter() - started}
    except DoesNotPay as refused:
        shelf.put(wish.kind, None, refused.gain)
        return {**answer, "gain": refused.gain, "seconds": time.perf_counter() - started}
    except Exception as error:
        return {**answer, "reason": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    sys.exit(main())
