"""Figures of a chaos run: what was measured, against what was asked, kept as JSON.

Three variables decide how hard a run is. CHAOS_SIZE=full does everything as often as the table in
docs/reliability.md asks, CHAOS_SCALE=0.3 three tenths of that, neither a small part for every
change, and CHAOS_SIZE=brief a quarter of the small part. CHAOS_SLACK=8 lets everything take eight
times the asked time before a test fails, for machines that others keep busy; what was measured is
written down all the same, and nothing that is counted (lost, twice, wrong) has any slack.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

SCALE = float(os.environ.get("CHAOS_SCALE") or (os.environ.get("CHAOS_SIZE") == "full"))
BRIEF = os.environ.get("CHAOS_SIZE") == "brief"
SLACK = float(os.environ.get("CHAOS_SLACK") or 1)
FOLDER = Path(__file__).resolve().parents[2] / "var" / "chaos"


def size(full: int, small: int) -> int:
    """How often something is done: in full, in part, or small enough for every change."""
    return max(1, small // 4) if BRIEF else max(small, round(full * SCALE))


def within(seconds: float) -> float:
    """The longest time that passes for `seconds`, on this machine."""
    return seconds * SLACK


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
    # A brief run leaves the table's figures alone.
    path = FOLDER / (f"brief.{name}.json" if BRIEF else f"{name}.{SCALE:g}.json")
    path.write_text(json.dumps(figures, indent=2) + "\n")
