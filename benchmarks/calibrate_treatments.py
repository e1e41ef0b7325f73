"""Calibrates `lora=auto`: what each shipped LoRA is expected to do for a photo.

    python -m benchmarks.calibrate_treatments FOLDER_OF_PHOTOS [--pictures 1200]

Damages parts of training photos in every way that worker/training/damage knows, alone and in
company, runs every LoRA of `loras/` in the ways of TRIED through the worker's engine, and
fits a small network from the measures of the damaged part to the gains. Writes
worker/job/treatment_gains.json, and prints for photos that were left out of the fit what the choice
is worth. What was measured is kept in var/treatments, by weights, so that a run that was ended goes
on.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.contact_sheet import middle
from benchmarks.eye import quality
from benchmarks.fitted import write_network
from benchmarks.pages import ROOT
from benchmarks.restorer import Restorer
from worker.job.damage import diagnosed, least_gain
from worker.job.damage_measures import measure
from worker.job.treatments import GAINS, Tried, treatment_measures
from worker.training.damage import KINDS, Pixels, sorts_of
from worker.training.damage.chains import mild_company
from worker.training.damage.compression import jpeg
from worker.training.damage.scaling import resized
from worker.training.photos import Photo, load_photos

# The damaged part is measured whole, as a photo is, and its middle is treated.
SIDE = 352
TREATED = 128
UNDAMAGED_SHARE = 0.2
ALONE_SHARE = 0.5
# Strengths and numbers of levels (worker/job/pyramid.py) that each LoRA is tried at.
TRIED: dict[str, tuple[tuple[float, int], ...]] = {
    "restore": ((0.05, 1), (0.05, 2), (0.05, 3), (0.4, 1)),
    "denoise": ((0.1, 1), (0.1, 2), (0.1, 3)),
    "strong_denoise": ((0.1, 1), (0.1, 2), (0.1, 3)),
    "chat": ((0.1, 1), (0.1, 2)),
}
OWN = ((0.1, 1),)
NONE = "none"
KEPT = ROOT / "var" / "treatments"
# Examples that are made with one LoRA before the next one's turn.
TOGETHER = 20
# A LoRA's short name, a strength, a number of levels.
Way = tuple[str, float, int]
# Harm is minded so many times as much as help. Of 380 examples of an earlier calibration, 16
# got worse by half a decibel or more; at 1, 30 did.
HARM = 2.0
# Beyond so many decibels a gain counts by its logarithm: what is beyond all hope or help must not
# rule the fit.
KNEE = 6.0


@dataclass(frozen=True)
class Example:
    """A damaged part of a photo: the photo's number, what was done, and both pictures."""

    photo: int
    sort: str
    clean: Pixels
    damaged: Pixels


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    restorer = Restorer(ROOT / "models" / "tiny", ROOT / "loras", ROOT / "var" / "quality")
    tried = [(name, *way) for name in restorer.names() for way in TRIED.get(name, OWN)]
    photos = load_photos(options.photos, SIDE, 0, 1400).training
    rows = list(_measured(photos, options, restorer, tried))
    restorer.close()
    measures, gains, numbers, sorts, least = (np.array(one) for one in zip(*rows, strict=True))
    model = _network(options.seed)
    minded = weighed(gains)
    expected = cross_val_predict(model, measures, minded, groups=numbers, cv=GroupKFold(5))
    print(_worth(expected, gains, sorts, least, tried))
    model.fit(measures, minded)
    known = [asdict(Tried(restorer.sha256(name), *way)) for name, *way in tried]
    write_network(GAINS, model, tried=known)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def weighed(gains: np.ndarray) -> np.ndarray:
    """Gains as the fit sees them."""
    compressed = KNEE * np.arcsinh(gains / KNEE)
    return np.where(gains < 0, HARM * compressed, compressed)


def _network(seed: int) -> Pipeline:
    return make_pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(32,), alpha=100.0, max_iter=1500, random_state=seed),
    )


def _measured(
    photos: list[Photo], options: argparse.Namespace, restorer: Restorer, tried: list[Way]
) -> Iterator[tuple[np.ndarray, list[float], int, str, float]]:
    """Measures, gains, the photo's number, the sort of damage and the gain that a treatment must
    promise, of every example.
    """
    for begin in range(0, options.pictures, TOGETHER):
        together = range(begin, min(begin + TOGETHER, options.pictures))
        examples = [draw(photos, index, options.seed) for index in together]
        # One way after the other, since LoRAs are merged.
        columns = [_kept_gains(examples, restorer, way) for way in tried]
        print(f"{together.stop} of {options.pictures}", flush=True)
        for example, gains in zip(examples, zip(*columns, strict=True), strict=True):
            found = measure(example.damaged)
            measures = treatment_measures(example.damaged, found)
            least = least_gain(diagnosed(found))
            yield measures, list(gains), example.photo, example.sort, least


def _kept_gains(examples: list[Example], restorer: Restorer, way: Way) -> list[float]:
    """What one way gains, for each example; from the disk if it was tried before."""
    path = KEPT / f"{_key(examples, restorer, way)}.json"
    if not path.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_gains(examples, restorer, way)), "utf-8")
    kept: list[float] = json.loads(path.read_text("utf-8"))
    return kept


def _gains(examples: list[Example], restorer: Restorer, way: Way) -> list[float]:
    gains = []
    for example in examples:
        clean, damaged = (middle(part, TREATED) for part in (example.clean, example.damaged))
        treated = restorer.made_with(damaged, *way)
        gains.append(quality(treated, clean) - quality(damaged, clean))
    return gains


def _key(examples: list[Example], restorer: Restorer, way: Way) -> str:
    name, *settings = way
    whole = hashlib.sha256(f"{restorer.sha256(name)} {settings} {TREATED}".encode())
    for example in examples:
        whole.update(example.damaged.tobytes() + example.clean.tobytes())
    return whole.hexdigest()[:32]


def draw(photos: list[Photo], index: int, seed: int) -> Example:
    """One part of a photo; every photo's turn comes again, with other damage."""
    random = np.random.default_rng((seed, index))
    number = index % len(photos)
    clean = _part(photos[number].pixels, random)
    if random.random() < UNDAMAGED_SHARE:
        good = jpeg(clean, random.uniform(90, 97)) if random.random() < 0.5 else clean
        return Example(number, NONE, clean, good)
    sorts = [sort for kind in KINDS for sort in sorts_of(kind)]
    sort = sorts[int(random.integers(len(sorts)))]
    damaged = sort.make(clean, sort.range.draw(random), random)
    if random.random() >= ALONE_SHARE:
        damaged = mild_company(damaged, random)
    return Example(number, sort.name, clean, damaged)


def _part(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """A square of SIDE, cut at any of the sizes that the photo allows, so that it is sharp."""
    height, width = pixels.shape[:2]
    factor = float(random.uniform(max(SIDE / min(height, width), 0.4), 1.0))
    side = min(int(SIDE / factor), height, width)
    top, left = (int(random.integers(whole - side + 1)) for whole in (height, width))
    cut = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return cut if side == SIDE else resized(cut, SIDE, SIDE)


def _worth(
    expected: np.ndarray, gains: np.ndarray, sorts: np.ndarray, least: np.ndarray, tried: list[Way]
) -> str:
    """What is chosen, and what came of it, for each sort of damage."""
    best = expected.argmax(1)
    promised = expected[np.arange(len(best)), best]
    chosen = np.where(promised >= least, gains[np.arange(len(best)), best], 0.0)
    lines = ["sort            pictures  chosen gain  best gain  worst  treated  most often"]
    for sort in sorted(set(sorts)):
        own = sorts == sort
        treated = own & (promised >= least)
        names = [_named(tried[i]) for i in best[treated]]
        most = max(set(names), key=names.count) if names else ""
        lines.append(
            f"{sort:16}{own.sum():8} {chosen[own].mean():12.2f} "
            f"{np.maximum(gains[own].max(1), 0).mean():10.2f} {chosen[own].min():6.2f} "
            f"{treated.sum() / own.sum():8.0%}  {most}"
        )
    worse = (chosen < -0.5).sum()
    lines.append(f"mean gain {chosen.mean():.2f}, worse by half a decibel or more {worse}")
    for way, column in zip(tried, gains.T, strict=True):
        lines.append(f"always {_named(way)}: {column.mean():+.2f}")
    return "\n".join(lines)


def _named(way: Way) -> str:
    name, strength, levels = way
    return f"{name} at {strength:g}, {levels} levels"


if __name__ == "__main__":
    main()
