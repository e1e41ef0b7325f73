"""Figures of a chaos run: what was measured, against what was asked, kept as JSON."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

FULL = os.environ.get("CHAOS_SIZE") == "full"
FOLDER = Path(__file__).resolve().parents[2] / "var" / "chaos"


def size(full: int, small: int) -> int:
    """How often something is done: in full, or small enough for every change."""
    return full if FULL else small


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, in the values' unit."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and maximum, seconds."""
    return {
        "p50": round(percentile(seconds, 0.5), 3),
        "p99": round(percentile(seconds, 0.99), 3),
        "max": round(max(seconds), 3),
    }


def keep(name: str, **figures: object) -> None:
    """Write one test's figures where the table is made from them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    size_name = "full" if FULL else "small"
    (FOLDER / f"{name}.{size_name}.json").write_text(json.dumps(figures, indent=2) + "\n")
