"""The bases that jobs may go to now: those that living workers serve, the deployment's default
first.

Owns how a caller names a base. Knows nothing of LoRAs; api/jobs/routing.py chooses by them.
"""

import time
from collections.abc import Sequence

from shared.bases import UNKNOWN
from shared.errors import RetouchError
from shared.ledger.fleet import Fleet
from shared.ledger.roster import ServedBase, served_bases

# How long an answer of the store counts; a worker that joins may be missed for that long, unless it
# is the first.
REMEMBERED_SECONDS = 0.5


class Roster:
    """Safe to share between threads. `default` is the base of the deployment's settings, and
    `expected` names others whose workers may come and go.
    """

    def __init__(self, fleet: Fleet, default: ServedBase, expected: Sequence[str] = ()) -> None:
        self._fleet = fleet
        self._default = default
        self._expected = [ServedBase(name) for name in expected]
        self._known: tuple[float, list[ServedBase]] = (float("-inf"), [])

    def served(self) -> list[ServedBase]:
        """Every base with a living worker, the default first. Raises StoreUnavailable."""
        since, served = self._known
        if not served or time.monotonic() - since > REMEMBERED_SECONDS:
            served = sorted(served_bases(self._fleet.workers()), key=self._is_other)
            self._known = (time.monotonic(), served)
        return served

    def candidates(self) -> list[ServedBase]:
        """The bases that jobs may go to: those that are served, then those that are expected; while
        nothing is served, the default comes first. Raises StoreUnavailable.
        """
        first = self.served() or [self._default]
        names = {base.name for base in first}
        return [*first, *(base for base in self._expected if base.name not in names)]

    @property
    def default_name(self) -> str:
        """The name of the deployment's own base, served or not."""
        return self._default.name

    @property
    def default(self) -> ServedBase:
        """The base of a job that names neither a base nor a LoRA. Raises StoreUnavailable."""
        return self.candidates()[0]

    def find(self, wanted: str) -> list[ServedBase]:
        """The bases that a caller's text means: a name, a checkpoint or a family. Raises
        StoreUnavailable.
        """
        wanted = wanted.casefold()
        for kind in ("name", "checkpoint", "family"):
            found = [one for one in self.candidates() if getattr(one, kind).casefold() == wanted]
            if found:
                return found
        return []

    def families(self) -> tuple[str, ...]:
        """The families of these bases, the default's first. Raises StoreUnavailable."""
        return tuple(dict.fromkeys(one.family for one in self.candidates()))

    def serving_quietly(self, family: str) -> list[str]:
        """The names of the bases of a family that are served now; the last known ones while the
        store is away.
        """
        try:
            served = self.served()
        except RetouchError:
            served = self._known[1]
        return [one.name for one in served if one.family == family]

    def _is_other(self, base: ServedBase) -> bool:
        """Whether this is not the default. A gateway without the checkpoint may not know the
        family of a hub id, but it knows its name.
        """
        own = self._default
        return base.name != own.name and (
            own.family != UNKNOWN.id or base.checkpoint != own.checkpoint
        )
