"""Chooses the enlarger of a job whose caller did not name one.

Owns the order of preference, and which files are the project's. Pure: entries in, entry out.
"""

from collections.abc import Sequence

from shared.upscalers.architecture import operations
from shared.upscalers.entry import UpscalerEntry

OURS = "retouch"
LARGE = "realesrgan_x4plus"
# Digests of the files that ship, or that the extras make.
OURS_SHA256 = "65fa4bdc7a364f321eb73e841c7d0d67c91d2bbe3b3f1201dfdf69165cb333e2"
LARGE_SHA256 = "fcb11df7d8e2893ee92ad29187e5b6bb5dc156748c96de3b4c7ccc48ad011728"
AUTO = "auto"
# Operations per pixel; on a CPU, more expensive enlargers run only on request.
MOST_ON_CPU = 5e6


def choose(entries: Sequence[UpscalerEntry], factor: int, device: str) -> UpscalerEntry | None:
    """The enlarger for `auto`, or None if none is suitable.

    Our own on a CPU, Real-ESRGAN on a GPU; otherwise the cheapest one.
    """
    able = [entry for entry in entries if entry.is_available and entry.serves(factor)]
    if device == "cpu":
        able = [entry for entry in able if _cost(entry) <= MOST_ON_CPU]
    preferred = (OURS, LARGE) if device == "cpu" else (LARGE, OURS)
    return min(able, key=lambda entry: (_rank(entry, preferred), _cost(entry)), default=None)


def is_known(entry: UpscalerEntry) -> bool:
    """Whether this very file ships with the project or is made by its extras."""
    return entry.sha256 in (OURS_SHA256, LARGE_SHA256)


def passes(factors: Sequence[int], wanted: int) -> list[int]:
    """The factors to apply one after the other to enlarge at least `wanted` times."""
    enough = [factor for factor in sorted(factors) if factor >= wanted]
    if enough:
        return enough[:1]
    most, made, found = max(factors), 1, []
    while made < wanted and most > 1:
        found.append(most)
        made *= most
    return found


def _rank(entry: UpscalerEntry, preferred: tuple[str, ...]) -> int:
    # On a CPU our own enlarger is preferred to others, not only because of its cost.
    known = [name for name in preferred if name == entry.name]
    return preferred.index(known[0]) if known else len(preferred)


def _cost(entry: UpscalerEntry) -> float:
    assert entry.architecture is not None
    return operations(entry.architecture)
