"""The outcome of one check of this machine."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One checked item. `mend` says what to do unless it is `ok`."""

    name: str
    state: State
    detail: str
    mend: str = ""
