"""Decides how a job's picture is enlarged: by which enlarger, and before or after the LoRA.

Owns that decision, and the filter that is used without an enlarger. The networks run on the
engine's device; knows nothing of tiles.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from shared.bases import TINY
from shared.errors import UpscalerChanged, UpscalerNotFound, UpscalerUnusable
from shared.params import JobParams
from shared.sizes import result_size
from shared.upscalers.architecture import operations
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import AUTO, choose, is_known
from shared.upscalers.entry import FILTER, UpscalerEntry
from worker.engine.interface import Pixels
from worker.job.lora_choice import Chosen

# Operations per second, for a first estimate of an enlarger's time; measured history replaces it.
SPEED_ON_CPU, SPEED_ON_GPU = 1e11, 2e13
FILTER_SECONDS = 0.3


@dataclass(frozen=True)
class Plan:
    """`size` is the result's width and height. Without an entry the filter is used.

    `first` means that the picture is enlarged before the base processes it. `share` is that of the
    photo's size at which the base works; less than 1 only with an entry. `guess` is in seconds per
    megapixel.
    """

    factor: int
    size: tuple[int, int]
    entry: UpscalerEntry | None
    first: bool
    guess: float
    degraded: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def times(self) -> int:
        """How many times larger the network makes what the base worked on."""
        return times_of(self.factor, self.share)

    def shrunk(self, pixels: Pixels) -> Pixels:
        """The photo at the size at which the base works."""
        return fitted(pixels, shrunk_size(pixels.shape[1], pixels.shape[0], self.share))

    @property
    def enlarges(self) -> bool:
        """Whether there is anything to do."""
        return self.factor > 1 or self.entry is not None

    @property
    def name(self) -> str | None:
        """The enlarger's name, as recorded in the result."""
        if not self.enlarges:
            return None
        return self.entry.name if self.entry else FILTER

    @property
    def adds_nothing(self) -> bool:
        """Whether what makes the picture larger is known to draw nothing but detail."""
        return self.entry is None or is_known(self.entry)

    @property
    def megapixels(self) -> float:
        """The result's."""
        return self.size[0] * self.size[1] / 1e6

    def by_filter(self) -> "Plan":
        """The same plan without the network, which has failed."""
        without = replace(self, entry=None, share=1.0)
        return replace(without, guess=FILTER_SECONDS, degraded=("no_upscaler",))


class Enlargements:
    """Plans for one worker's base and device."""

    def __init__(self, catalog: UpscalerCatalog, base: str, device: str) -> None:
        self._catalog = catalog
        self._base = base
        self._device = "cpu" if device in ("cpu", "fake") else "gpu"

    def plan(self, params: JobParams, pixels: Pixels, chosen: Chosen) -> Plan:
        """The plan for a job's pixels. Raises UpscalerChanged, UpscalerUnusable."""
        factor = params.factor
        first = self._works_at(chosen) == "target"
        share = 1.0 if first else self._share(params, chosen)
        times = times_of(factor, share)
        entry = self._entry(params, times)
        missing = times > 1 and entry is None and params.upscaler != FILTER
        height, width = pixels.shape[:2]
        return Plan(
            factor=factor,
            size=result_size((width, height), params),
            entry=entry,
            first=first,
            guess=self._guess(entry),
            degraded=("no_upscaler",) if missing else (),
            share=share if entry else 1.0,
        )

    def _share(self, params: JobParams, chosen: Chosen) -> float:
        """The share of the photo's size at which the LoRAs work; the whole if the enlarger that the
        job names cannot bring it back.
        """
        share = min((lora.shrink for lora, _ in chosen), default=1.0)
        if share == 1 or params.upscaler in (AUTO, FILTER):
            return share
        return share if self._pinned(params).serves(times_of(params.factor, share)) else 1.0

    def _entry(self, params: JobParams, factor: int) -> UpscalerEntry | None:
        if params.upscaler == FILTER:
            return None
        if params.upscaler == AUTO:
            entries = self._catalog.entries()
            return choose(entries, factor, self._device) if factor > 1 else None
        entry = self._pinned(params)
        if factor > 1 and not entry.serves(factor):
            raise UpscalerUnusable(f"'{entry.name}' cannot enlarge {factor} times")
        return entry if factor > 1 or 1 in entry.factors else None

    def _pinned(self, params: JobParams) -> UpscalerEntry:
        try:
            entry = self._catalog.resolve(params.upscaler)
        except UpscalerNotFound as error:
            raise UpscalerChanged(
                f"'{params.upscaler}' was removed while the job waited"
            ) from error
        if params.upscaler_sha256 not in (None, entry.sha256):
            raise UpscalerChanged(f"'{params.upscaler}' was replaced while the job waited")
        return entry

    def _works_at(self, chosen: Chosen) -> str:
        """The embedded base repairs existing detail; other bases draw detail at the size of the
        result.
        """
        habit = "source" if self._base == TINY.id else "target"
        return next((lora.work_at for lora, _ in chosen if lora.work_at), habit)

    def _guess(self, entry: UpscalerEntry | None) -> float:
        if entry is None or entry.architecture is None:
            return FILTER_SECONDS
        speed = SPEED_ON_CPU if self._device == "cpu" else SPEED_ON_GPU
        return operations(entry.architecture) * 1e6 / speed


def times_of(factor: int, share: float) -> int:
    """How many times larger a network must make what was worked on at this share of the size."""
    return math.ceil(round(factor / share, 3))


def shrunk_size(width: int, height: int, share: float) -> tuple[int, int]:
    """Width and height at this share of the size, at least a pixel."""
    return max(1, round(width * share)), max(1, round(height * share))


def fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at exactly this width and height, resized by the filter if necessary."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
