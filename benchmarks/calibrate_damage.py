"""Calibrates worker/job/damage.py: which measures mean which damage, and how much of it.

    python -m benchmarks.calibrate_damage FOLDER_OF_PHOTOS

Damages training photos in known ways, fits a small classifier and one level estimate per kind, and
writes worker/job/damage_calibration.json. Prints a confusion table over photos left out in turn.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.fitted import rounded, write_network
from worker.job.damage_measures import measure
from worker.training.damage import RANGES, Kind, Range, degrade
from worker.training.damage.scaling import resized
from worker.training.photos import load_photos

SIDE = 448
PER_KIND = 2
RESIZED = ("lowres", "phone")
NONE = "none"
OUTPUT = Path(__file__).parent.parent / "worker" / "job" / "damage_calibration.json"


def examples(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Measures, kinds, levels and photo numbers, including undamaged photos at several sizes."""
    random = np.random.default_rng(seed)
    found = load_photos(folder, 160, 0, 1400)
    rows = []
    for number, photo in enumerate(found.training):
        height, width = (min(SIDE, side // 8 * 8) for side in photo.pixels.shape[:2])
        for _ in range(PER_KIND):
            top = int(random.integers(photo.pixels.shape[0] - height + 1))
            left = int(random.integers(photo.pixels.shape[1] - width + 1))
            cut = np.ascontiguousarray(photo.pixels[top : top + height, left : left + width])
            factor = random.uniform(0.5, 1.0)
            smaller = resized(cut, int(width * factor), int(height * factor))
            rows.append((measure(cut), NONE, 1.0, number))
            rows.append((measure(smaller), NONE, 1.0, number))
            for kind, span in RANGES.items():
                level = draw_level(kind, span, random)
                rows.append((measure(degrade(cut, kind, level, random)), kind, level, number))
    measures, kinds, levels, numbers = zip(*rows, strict=True)
    return np.array(measures), np.array(kinds), np.array(levels), np.array(numbers)


def draw_level(kind: Kind, span: Range, random: np.random.Generator) -> float:
    """Uniform over the measured range; half of the resizing is by a round factor.

    An enlargement by exactly two has a period of two pixels, as the blocks of a JPEG have one of
    eight, and applications often use round factors.
    """
    level = float(random.uniform(*span.measured))
    rounded = kind in RESIZED and random.random() < 0.5
    return round(level * 2) / 2 if rounded else level


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measures, kinds, levels, numbers = examples(options.photos, options.seed)
    model = make_pipeline(
        StandardScaler(),
        MLPClassifier((16,), alpha=0.3, max_iter=800, random_state=options.seed),
    )
    likely = cross_val_predict(
        model, measures, kinds, groups=numbers, cv=GroupKFold(5), method="predict_proba"
    )
    guessed = np.unique(kinds)[likely.argmax(1)]
    names = [NONE, *RANGES]
    print(f"{len(kinds)} pictures, {np.mean(guessed == kinds):.1%} right; rows are the truth")
    print(names)
    print(confusion_matrix(kinds, guessed, labels=names))
    print(trust(kinds, guessed, likely.max(1)))
    model.fit(measures, kinds)
    lines = {kind: level_line(measures, kinds, levels, kind, model[0]) for kind in RANGES}
    write_network(
        OUTPUT,
        model,
        kinds=[str(kind) for kind in model[1].classes_],
        levels={kind: rounded(line) for kind, line in lines.items()},
    )


def trust(kinds: np.ndarray, guessed: np.ndarray, certainty: np.ndarray) -> str:
    """What each possible minimum certainty of worker/job/damage.py would cost and save, as lines of
    text.
    """
    damaged, treated = kinds != NONE, guessed != NONE
    lines = []
    for least in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98):
        sure = treated & (certainty >= least)
        wrong = (sure & (guessed != kinds)).sum()
        left = (damaged & (guessed == kinds) & ~sure).sum()
        lines.append(
            f"certainty {least}: {wrong} of {sure.sum()} treated wrongly, "
            f"{left} of {damaged.sum()} known and left alone"
        )
    return "\n".join(lines)


def level_line(
    measures: np.ndarray, kinds: np.ndarray, levels: np.ndarray, kind: str, scaler: StandardScaler
) -> list[float]:
    """Intercept and slopes of the logarithm of the level."""
    chosen = kinds == kind
    line = Ridge(3.0).fit(scaler.transform(measures[chosen]), np.log(levels[chosen]))
    return [float(line.intercept_), *(float(slope) for slope in line.coef_)]


if __name__ == "__main__":
    main()
