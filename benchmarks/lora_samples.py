"""Makes the sample pictures beside the shipped LoRAs: before on the left, after on the right.

    python -m benchmarks.lora_samples

Photos that were not used in training, damaged at the middle of each range, through the worker's own
chooser and engine. Run it after new weights.
"""

import argparse

import numpy as np
from PIL import Image

from benchmarks.held_out import held_out_photos
from benchmarks.pages import ROOT
from benchmarks.quality import KEPT
from worker.training.damage import SORTS, Pixels
from worker.training.restorer import Restorer

SIDE, GAP = 224, 4
# The damage of a LoRA's sample, its photo, and the top left corner of its part.
PIECES = {
    "denoise": ("night", "chelsea", 40, 120),
    "strong_denoise": ("white", "coffee", 120, 150),
    "deblur": ("gaussian", "coffee", 120, 150),
    "dejpeg": ("jpeg", "astronaut", 0, 64),
    "lowres": ("small", "motorcycle", 150, 150),
    "face_restore": ("phone", "astronaut", 0, 64),
    "restore": ("chat", "astronaut", 0, 64),
    "chat": ("chat", "coffee", 120, 150),
    "redraw": ("chat", "astronaut", 0, 64),
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    photos = held_out_photos()
    restorer = Restorer(ROOT / "models" / "tiny", ROOT / "loras", KEPT / "pictures")
    for lora, (sort, name, top, left) in PIECES.items():
        clean = np.ascontiguousarray(photos[name][top : top + SIDE, left : left + SIDE])
        damaged = SORTS[sort].make(clean, SORTS[sort].range.middle, np.random.default_rng(0))
        after = restorer.enhance(damaged, lora)
        path = ROOT / "loras" / f"{lora}_tiny.jpg"
        Image.fromarray(beside(damaged, after)).save(path, quality=90)
        print(path)
    restorer.close()


def beside(before: Pixels, after: Pixels) -> Pixels:
    """Two pictures of one size with a white line between them."""
    line = np.full((before.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([before, line, after], axis=1)


if __name__ == "__main__":
    main()
