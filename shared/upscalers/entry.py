"""The catalogue's record of one enlarger, shared by API, command line and worker."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.loras.entry import LoraState
from shared.upscalers.architecture import Architecture

# The filter used without an enlarger. No file may have this name.
FILTER = "lanczos"


class UpscalerKind(StrEnum):
    """The kind of network in a file."""

    RRDB = "rrdbnet"
    COMPACT = "srvggnetcompact"
    FOLDED = "retouch"
    UNKNOWN = "unknown"


class UpscalerEntry(BaseModel):
    """One file of the folder as the catalogue found it. A replaced file is a new entry.

    `factors` are those that the network was made for; other factors are reached by repeating and
    shrinking. `architecture` is missing if the file cannot be used. `reason_code` names the message
    in `reason` and `reason_zh`.
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
        """Whether this enlarger can enlarge a picture `factor` times."""
        return self.is_available and (factor in self.factors or max(self.factors) > 1 < factor)
