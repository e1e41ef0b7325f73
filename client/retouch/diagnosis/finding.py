"""The outcome of one look at this machine."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `mend` says what to do where it is not `ok`."""

    name: str
    state: State
    detail: str
    mend: str = ""
