"""The bases that the live workers serve.

Owns what is derived from heartbeats. shared/ledger/fleet.py keeps the heartbeats.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.base_defaults import BaseDefaults
from shared.bases import Base, family_of_name
from shared.ledger.fleet import WorkerInfo


@dataclass(frozen=True)
class ServedBase:
    """A base by its name (`family/checkpoint`), its own defaults, and how many workers serve it."""

    name: str
    defaults: BaseDefaults = field(default_factory=BaseDefaults)
    fingerprint: str = ""
    workers: int = 0

    @property
    def base(self) -> Base:
        """Its family, with the checkpoint's defaults."""
        return self.defaults.applied_to(family_of_name(self.name))

    @property
    def family(self) -> str:
        """The id of its family."""
        return family_of_name(self.name).id

    @property
    def checkpoint(self) -> str:
        """The name without the family."""
        return self.name.rpartition("/")[2]


def served_bases(workers: Iterable[WorkerInfo]) -> list[ServedBase]:
    """What these workers serve, by name."""
    by_name: dict[str, list[WorkerInfo]] = {}
    for worker in workers:
        by_name.setdefault(worker.base, []).append(worker)
    return [
        ServedBase(name, group[0].base_defaults, group[0].fingerprint, len(group))
        for name, group in sorted(by_name.items())
    ]
