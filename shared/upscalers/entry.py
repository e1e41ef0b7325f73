"""What the catalogue says of one enlarger: the record that API, command line and worker share."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.loras.entry import LoraState
from shared.upscalers.architecture import Architecture

# What a picture is enlarged with where there is no enlarger. No file may have this name.
FILTER = "lanczos"


class UpscalerKind(StrEnum):
    """Which network a file holds."""

    RRDB = "rrdbnet"
    COMPACT = "srvggnetcompact"
    FOLDED = "retouch"
    UNKNOWN = "unknown"


class UpscalerEntry(BaseModel):
    """One file of the folder as the catalogue found it. A replaced file is a new entry.

    `factors` are those that the network was made for; others are had by repeating and by shrinking.
    `architecture` is missing where the file cannot be used. `reason_code` names the sentence in
    `reason` and `reason_zh`.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    path: Path
    title: dict[str, str]
    kind: UpscalerKind
    factors: list[int]
    architecture: Architecture | None
    state: LoraState
    reason_code: str | None
    reason: str | None
    reason_zh: str | None
    licence: str | None
    source: str | None
    size_bytes: int
    sha256: str

    @property
    def is_available(self) -> bool:
        return self.state is LoraState.AVAILABLE

    def serves(self, factor: int) -> bool:
        """Whether this enlarger can make a picture `factor` times as large."""
        return self.is_available and (factor in self.factors or max(self.factors) > 1 < factor)
