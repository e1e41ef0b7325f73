"""The programs that a GPU's checks start, without a GPU."""

from importlib.util import find_spec

import pytest

from benchmarks.gpu_checks import Check, checks


@pytest.mark.parametrize("check", checks("cuda", small=False), ids=lambda check: check.name)
def test_every_program_can_be_started(check: Check) -> None:
    module = check.arguments[0]
    found = find_spec(module)
    assert found is not None
    if found.submodule_search_locations is not None:
        assert find_spec(f"{module}.__main__") is not None
