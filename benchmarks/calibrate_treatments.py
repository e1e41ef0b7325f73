"""Calibrates `lora=auto`: what each shipped LoRA is expected to do for a photo.

    python -m benchmarks.calibrate_treatments FOLDER_OF_PHOTOS [--pictures 1200]

Damages parts of training photos in every way that worker/training/damage knows, alone and in
company, runs every LoRA of `loras/` in the ways of TRIED through the worker's engine, and
fits trees from the measures of the damaged part to the gains. Writes
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
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold, cross_val_predict

from benchmarks.contact_sheet import middle
from benchmarks.eye import quality
from benchmarks.fitted import rounded, write_forest
from benchmarks.pages import ROOT
from worker.job.damage import certain_sort, diagnosed, least_gain
from worker.job.damage_measures import kept_when_shrunk, measure
from worker.job.treatments import (
    GAINS,
    KEEPS_ALL,
    MOST_GIVEN_UP,
    REDRAWN_AT_LEAST,
    WHITE_NOISE,
    Tried,
    treatment_measures,
)
from worker.training.damage import KINDS, Pixels, sorts_of
from worker.training.damage.chains import mild_company
from worker.training.damage.compression import jpeg
from worker.training.damage.scaling import resized
from worker.training.photos import Photo, load_photos
from worker.training.restorer import Restorer

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
    "redraw": ((0.05, 1), (0.5, 1), (1.0, 1)),
}
OWN = ((0.1, 1),)
# What phones and chats do is several kinds of damage at once, so nothing is usual for it: `restore`
# at 0.4 gains most on average by its edges, and loses PSNR.
SEVERAL = "phone"
# What is chosen for a photo that is left alone.
NOTHING = -1
FOLDS = 5
# More trees or smaller leaves gain nothing. The mean of six networks of 32 units gained 2.08 dB,
# and treated twice as many of the undamaged.
TREES, LEAST_EXAMPLES, SHARE_OF_MEASURES = 40, 5, 0.5
NONE = "none"
KEPT = ROOT / "var" / "treatments"
# Examples that are made with one LoRA before the next one's turn.
TOGETHER = 20
# More than any LoRA's number of kinds.
OTHERS = 99
# For each sort that is certain, how many kinds each way is for.
Breadth = dict[str, np.ndarray]
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
    measures, gains, numbers, sorts, certain, least, kept = (
        np.array(one) for one in zip(*rows, strict=True)
    )
    model, minded = _forest(options.seed), weighed(gains)
    folds = GroupKFold(FOLDS)
    expected = cross_val_predict(model, measures, minded, groups=numbers, cv=folds)
    redraws = np.array(
        [restorer.shrink(name) < 1 and at >= REDRAWN_AT_LEAST for name, at, _ in tried]
    )
    promised = _by_promise(expected, least, redraws & (kept >= KEEPS_ALL)[:, None])
    breadth = {sort: _breadth(sort, tried, restorer) for sort in set(certain) - {""}}
    usual = _by_sort(gains, certain, numbers, breadth)
    known_better = _better_sorts(gains, promised, usual, certain, tried, breadth)
    chosen = np.where(np.isin(certain, known_better), usual, promised)
    print(_worth(chosen, gains, sorts, tried))
    model.fit(measures, minded)
    known = [asdict(Tried(restorer.sha256(name), *way)) for name, *way in tried]
    write_forest(GAINS, model, tried=known, usual=_usual(gains, certain, known_better, breadth))


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


def _forest(seed: int) -> ExtraTreesRegressor:
    return ExtraTreesRegressor(
        TREES,
        min_samples_leaf=LEAST_EXAMPLES,
        max_features=SHARE_OF_MEASURES,
        random_state=seed,
    )


def _measured(
    photos: list[Photo], options: argparse.Namespace, restorer: Restorer, tried: list[Way]
) -> Iterator[tuple[np.ndarray, list[float], int, str, str, float, float]]:
    """Measures, gains, the photo's number, the sort of damage, the one that is certain by the
    measures ('' for none), the gain that a treatment must promise, and what is kept when it is
    shrunk, of every example.
    """
    shrink = min(restorer.shrink(name) for name, _, _ in tried)
    for begin in range(0, options.pictures, TOGETHER):
        together = range(begin, min(begin + TOGETHER, options.pictures))
        examples = [draw(photos, index, options.seed) for index in together]
        # One way after the other, since LoRAs are merged.
        columns = [_kept_gains(examples, restorer, way) for way in tried]
        print(f"{together.stop} of {options.pictures}", flush=True)
        for example, gains in zip(examples, zip(*columns, strict=True), strict=True):
            found = measure(example.damaged)
            measures = treatment_measures(example.damaged, found)
            seen = diagnosed(found)
            certain = certain_sort(seen, measures) or ""
            least = least_gain(seen)
            kept = kept_when_shrunk(example.damaged, shrink)
            yield measures, list(gains), example.photo, example.sort, certain, least, kept


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
    whole = hashlib.sha256(f"{restorer.weights(name)} {settings} {TREATED}".encode())
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


def _by_promise(expected: np.ndarray, least: np.ndarray, redraws: np.ndarray) -> np.ndarray:
    """For each example what promises most, or what redraws it and promises nearly as much; NOTHING
    if what promises most promises too little. `redraws`: which ways would redraw which example and
    lose nothing.
    """
    rows = np.arange(len(expected))
    redrawn = np.where(redraws, expected, -np.inf).argmax(1)
    can = redraws[rows, redrawn] & (expected[rows, redrawn] >= expected.max(1) - MOST_GIVEN_UP)
    chosen = np.where(can, redrawn, expected.argmax(1))
    return np.where(expected.max(1) >= least, chosen, NOTHING)


def _breadth(sort: str, tried: list[Way], restorer: Restorer) -> np.ndarray:
    """How many kinds of damage each way's LoRA is for; OTHERS if this sort is none of them."""
    kind = "noise" if sort == WHITE_NOISE else sort
    treated = [restorer.treats(name) for name, _, _ in tried]
    return np.array([len(kinds) if kind in kinds else OTHERS for kinds in treated])


def _usually(gains: np.ndarray, breadth: np.ndarray) -> int:
    """The way that gained most on these examples. If others are within a standard error of it, the
    one whose LoRA is for this damage and for the fewest other kinds: it does best what it is for.
    """
    means = gains.mean(0)
    behind = gains[:, [means.argmax()]] - gains
    is_level = behind.mean(0) <= behind.std(0) / np.sqrt(len(gains))
    return int(np.lexsort((-means, np.where(is_level, breadth, np.inf)))[0])


def _by_sort(
    gains: np.ndarray, certain: np.ndarray, numbers: np.ndarray, breadth: Breadth
) -> np.ndarray:
    """For each example what gained most for its certain sort of damage on other photos."""
    chosen = np.full(len(certain), NOTHING)
    for fitted, left_out in GroupKFold(FOLDS).split(gains, groups=numbers):
        for sort in set(certain[left_out]) - {""}:
            like = fitted[certain[fitted] == sort]
            if len(like):
                chosen[left_out[certain[left_out] == sort]] = _usually(gains[like], breadth[sort])
    return chosen


def _better_sorts(
    gains: np.ndarray,
    promised: np.ndarray,
    usual: np.ndarray,
    certain: np.ndarray,
    tried: list[Way],
    breadth: Breadth,
) -> list[str]:
    """The sorts for which what is usual gains more than what promises most."""
    print("certain sort    pictures  by promise  usual  usually")
    better = []
    for sort in sorted(set(certain) - {""}):
        own = certain == sort
        by_promise, by_sort = (_gained(gains, way)[own].mean() for way in (promised, usual))
        best = _named(tried[_usually(gains[own], breadth[sort])])
        print(f"{sort:16}{own.sum():8} {by_promise:11.2f} {by_sort:6.2f}  {best}")
        better += [sort] if by_sort > by_promise and sort != SEVERAL else []
    return better


def _usual(
    gains: np.ndarray, certain: np.ndarray, sorts: list[str], breadth: Breadth
) -> dict[str, dict[str, int | float]]:
    """What usually gains most for each of these sorts: its place in `tried` and its mean gain."""
    found = {}
    for sort in sorts:
        own = gains[certain == sort]
        place = _usually(own, breadth[sort])
        found[sort] = {"tried": place, "gain": rounded(own[:, place].mean())}
    return found


def _gained(gains: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen == NOTHING, 0.0, gains[np.arange(len(chosen)), chosen])


def _worth(chosen: np.ndarray, gains: np.ndarray, sorts: np.ndarray, tried: list[Way]) -> str:
    """What is chosen, and what came of it, for each sort of damage."""
    gained = _gained(gains, chosen)
    lines = ["sort            pictures  chosen gain  best gain  worst  treated  most often"]
    for sort in sorted(set(sorts)):
        own = sorts == sort
        treated = own & (chosen != NOTHING)
        names = [_named(tried[i]) for i in chosen[treated]]
        most = max(set(names), key=names.count) if names else ""
        lines.append(
            f"{sort:16}{own.sum():8} {gained[own].mean():12.2f} "
            f"{np.maximum(gains[own].max(1), 0).mean():10.2f} {gained[own].min():6.2f} "
            f"{treated.sum() / own.sum():8.0%}  {most}"
        )
    worse = (gained < -0.5).sum()
    lines.append(f"mean gain {gained.mean():.2f}, worse by half a decibel or more {worse}")
    for way, column in zip(tried, gains.T, strict=True):
        lines.append(f"always {_named(way)}: {column.mean():+.2f}")
    return "\n".join(lines)


def _named(way: Way) -> str:
    name, strength, levels = way
    return f"{name} at {strength:g}, {levels} levels"


if __name__ == "__main__":
    main()
