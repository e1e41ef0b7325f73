"""Calibrates the quality check of uploads: how many ordinary photos it refuses, and what it
catches.

    python benchmarks/calibrate_quality_check.py FOLDER_OF_PHOTOS

Blurs and darkens photos in steps, measures them as the decoding child does, and writes the limits
to api/intake/quality_check.json and the false-refusal curve to docs/gate.png. Also prints the
refusals of photos that were not used for calibration (the samples of scikit-image and
scikit-learn).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from api.intake.decoding.measure import measure
from benchmarks.held_out import held_out_photos
from shared.settings import REPOSITORY
from worker.training.damage import RANGES, Pixels, degrade
from worker.training.photos import load_photos

GATE = REPOSITORY / "api" / "intake" / "quality_check.json"
CURVE = REPOSITORY / "docs" / "gate.png"
SIDE = 512
SIGMAS = (0.0, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0)
EXPOSURES = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
# A limit is this far below the values that must pass, so that other photos pass too.
MARGIN = 0.6
# This share of the photos that must pass may be refused; the design allows 1 %.
ALLOWED = 0.005
# Useless pictures: three levels of light, and noise of one level over one colour.
DARKEST_USE, GREY_NOISE = 12.0, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    photos = [
        fitted(photo.pixels)
        for photo in load_photos(parser.parse_args().photos, 160, 0, 1400).training
    ]
    others = list(held_out_photos().values())
    least = limits(photos)
    report = {
        "least": least,
        "photos": len(photos),
        "refused": refusals(photos, least),
        "refused_of_held_out": refusals(others, least),
    }
    GATE.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    draw(report)
    print(json.dumps(report, indent=1))


def fitted(pixels: Pixels) -> Pixels:
    """At most 512 pixels a side, the size at which the check measures large photos."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def measured(photos: list[Pixels], name: str, change: Callable[[Pixels], Pixels]) -> np.ndarray:
    """One measure of every photo after a change."""
    return np.array([measure(Image.fromarray(change(photo)))[name] for photo in photos])


def limits(photos: list[Pixels]) -> dict[str, float]:
    """The minimum sharpness, light and spread: below all but a few of the photos that must pass."""
    worst_blur = RANGES["blur"].measured[1]
    soft = measured(photos, "sharpness", lambda photo: blur(photo, worst_blur))
    spread = measured(photos, "spread", lambda photo: photo)
    light = measured(photos, "light", lambda photo: photo)
    lowest = {
        name: float(np.quantile(v, ALLOWED)) for name, v in (("spread", spread), ("light", light))
    }
    return {
        "sharpness": round(MARGIN * float(np.quantile(soft, ALLOWED)), 2),
        "light": round(min(DARKEST_USE, MARGIN * lowest["light"]), 2),
        "spread": round(min(2 * GREY_NOISE, MARGIN * lowest["spread"]), 2),
    }


def refusals(photos: list[Pixels], least: dict[str, float]) -> dict[str, dict[str, float]]:
    """The share refused at each step of damage; `treated` is damage that the LoRAs treat."""

    def refused(change: Callable[[Pixels], Pixels]) -> float:
        rows = [measure(Image.fromarray(change(photo))) for photo in photos]
        return round(float(np.mean([any(row[n] < least[n] for n in least) for row in rows])), 4)

    random = np.random.default_rng(0)
    worst = {
        kind: max(span.measured, key=lambda v, k=kind: v if k != "jpeg" else -v)
        for kind, span in RANGES.items()
    }
    return {
        "blur_sigma": {f"{sigma:g}": refused(lambda p, s=sigma: blur(p, s)) for sigma in SIGMAS},
        "exposure": {
            f"{share:g}": refused(lambda p, s=share: darkened(p, s)) for share in EXPOSURES
        },
        "treated": {
            f"{kind} {level:g}": refused(lambda p, k=kind, v=level: degrade(p, k, v, random))
            for kind, level in worst.items()
        },
    }


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """A Gaussian of `sigma` pixels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma) if sigma else pixels, np.uint8)


def darkened(pixels: Pixels, share: float) -> Pixels:
    """The picture with this share of the light, as 8-bit code values."""
    return np.asarray(np.rint(pixels * share), np.uint8)


def draw(report: dict[str, object]) -> None:
    """Shares of refusals over steps of damage, for calibration photos and others."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    names = {"blur_sigma": "blur, sigma in pixels at 512", "exposure": "share of the light left"}
    for axis, (name, label) in zip(axes, names.items(), strict=True):
        for key, style in (("refused", "o-"), ("refused_of_held_out", "s--")):
            steps = report[key][name]  # type: ignore[index]
            axis.plot(
                [float(step) for step in steps],
                list(steps.values()),
                style,
                label=key.replace("_", " "),
            )
        axis.set_xlabel(label)
        axis.set_ylabel("share refused")
        axis.legend(fontsize=8)
    axes[0].axvspan(0, RANGES["blur"].measured[1], alpha=0.1)
    axes[1].set_xscale("log", base=2)
    figure.savefig(CURVE, dpi=90)


if __name__ == "__main__":
    main()
