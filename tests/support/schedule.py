"""Which tests run beside which, so that the cores are busy to the end."""

from itertools import chain, zip_longest
from pathlib import PurePath

import pytest
from xdist.scheduler import LoadFileScheduling

# Their tests share one running service.
TOGETHER = PurePath("tests/faces")


class ByUnit(LoadFileScheduling):
    """One process runs all tests of a file, and one runs all of the folder `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """The tests that run one after the other in one process."""
    file = PurePath(nodeid.partition("::")[0])
    return str(TOGETHER if file.is_relative_to(TOGETHER) else file)


def sort(items: list[pytest.Item]) -> None:
    """Units that compute alternate with those that wait for services, stores and clocks. Of the
    latter, those with the longest waits come first.
    """
    units = list(dict.fromkeys(unit_of(item.nodeid) for item in items))
    computing = [unit for unit in units if {"engine", "training", "guards"} & {*unit.split("/")}]
    others = [unit for unit in units if unit not in computing]
    others.sort(key=lambda unit: (unit.startswith("tests/unit/"), "/shared/" not in unit))
    ordered = [unit for unit in chain(*zip_longest(others, computing)) if unit is not None]
    place = {unit: index for index, unit in enumerate(ordered)}
    items.sort(key=lambda item: place[unit_of(item.nodeid)])
