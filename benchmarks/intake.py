"""The cost of decoding an upload in a separate process, beyond the decoding itself.

`python -m benchmarks.intake [--rounds 40]`: JPEGs of three sizes, variants alternating: Pillow's
decoding alone; the same with every step of an upload (orientation, colours, scaling, the quality
check), called in this process; and the same in the child, as in the gateway. Target: the child
costs less than 10 ms per picture.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

from PIL import Image

from api.intake.decoder import Decoders
from api.intake.decoding.normalise import Order, normalise
from api.intake.decoding.opening import prepare
from benchmarks.machine import describe_machine
from benchmarks.service import photo

SIDES = (512, 1024, 3500)
MAX_PIXELS = 50_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    prepare()
    decoders = Decoders(MAX_PIXELS)
    print(describe_machine())
    print(
        "| JPEG | decoding, ms | all in this process, ms | in the child, ms | for the child, ms |"
    )
    print("| --- | --- | --- | --- | --- |")
    try:
        for side in SIDES:
            row = medians(photo(side), decoders, options.rounds)
            cells = [*row, row[2] - row[1]]
            print(f"| {side} px | {' | '.join(f'{1000 * cell:.1f}' for cell in cells)} |")
    finally:
        decoders.close()


def medians(data: bytes, decoders: Decoders, rounds: int) -> list[float]:
    """Seconds of each variant; the first round warms up and does not count."""
    arms: list[Callable[[], object]] = [
        lambda: Image.open(io.BytesIO(data)).convert("RGB"),
        lambda: normalise(data, Order("jpeg", MAX_PIXELS, "ppm")),
        lambda: decoders.normalise(data, "jpeg"),
    ]
    spans: list[list[float]] = [[] for _ in arms]
    for _ in range(rounds + 1):
        for arm, found in zip(arms, spans, strict=True):
            begun = time.perf_counter()
            arm()
            found.append(time.perf_counter() - begun)
    return [statistics.median(found[1:]) for found in spans]


if __name__ == "__main__":
    main()
