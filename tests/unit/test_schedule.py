"""The order in which xdist hands out the tests."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from tests.support.schedule import sort, unit_of

COMPUTING = [f"tests/unit/worker/engine/test_{number}.py" for number in range(3)]
SERVICES = [f"tests/integration/test_{number}.py" for number in range(2)]
FACES = ["tests/faces/test_a.py", "tests/faces/test_b.py"]
SHORT = [f"tests/unit/api/test_{number}.py" for number in range(4)]


def items(*files: str) -> list[Any]:
    return [SimpleNamespace(nodeid=f"{file}::test_{name}[a::b]") for file in files for name in "xy"]


def test_units_that_compute_alternate_with_those_that_wait() -> None:
    mixed = items(*SHORT, FACES[0], *COMPUTING, *SERVICES, FACES[1])
    sort(mixed)
    units = list(dict.fromkeys(unit_of(item.nodeid) for item in mixed))
    assert units[1:6:2] == COMPUTING
    assert {*units[0:6:2]} == {"tests/faces", *SERVICES}
    assert units[6:] == SHORT


def test_no_unit_is_torn_apart() -> None:
    mixed = items(FACES[0], *COMPUTING, *SHORT, FACES[1], *SERVICES)
    sort(mixed)
    order = [unit_of(item.nodeid) for item in mixed]
    changes = sum(one != other for one, other in pairwise(order))
    assert changes == len(set(order)) - 1
