"""Which enlarger a job gets where its caller left that open.

Owns the order of preference. Pure: entries in, entry out.
"""

from collections.abc import Sequence

from shared.upscalers.architecture import operations
from shared.upscalers.entry import UpscalerEntry

OURS = "retouch"
LARGE = "realesrgan_x4plus"
AUTO = "auto"
# Operations for one pixel; what costs more a processor runs on request only.
MOST_ON_CPU = 5e6


def choose(entries: Sequence[UpscalerEntry], factor: int, device: str) -> UpscalerEntry | None:
    """The enlarger for `auto`, or None where none can do it.

    A processor takes ours, a GPU Real-ESRGAN; of others, the one that costs least.
    """
    able = [entry for entry in entries if entry.is_available and entry.serves(factor)]
    if device == "cpu":
        able = [entry for entry in able if _cost(entry) <= MOST_ON_CPU]
    preferred = (OURS, LARGE) if device == "cpu" else (LARGE, OURS)
    return min(able, key=lambda entry: (_rank(entry, preferred), _cost(entry)), default=None)


def passes(factors: Sequence[int], wanted: int) -> list[int]:
    """The factors to apply, one after the other, to become at least `wanted` times as large."""
    enough = [factor for factor in sorted(factors) if factor >= wanted]
    if enough:
        return enough[:1]
    most, made, found = max(factors), 1, []
    while made < wanted and most > 1:
        found.append(most)
        made *= most
    return found


def _rank(entry: UpscalerEntry, preferred: tuple[str, ...]) -> int:
    # Ours comes before a larger one on a processor, not merely by its cost.
    known = [name for name in preferred if name == entry.name]
    return preferred.index(known[0]) if known else len(preferred)


def _cost(entry: UpscalerEntry) -> float:
    assert entry.architecture is not None
    return operations(entry.architecture)
