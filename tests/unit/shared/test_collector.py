"""Imports are not looked through by the collector, and what comes after them is collected."""

import subprocess
import sys

import pytest

from tests.support.workers import REPOSITORY

IMPORT = """
import gc
from shared.collector import no_collection

runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))

class Loop:
    def __init__(self):
        self.me = self

def loops(count):
    for _ in range(count):
        Loop()
"""


def run(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT + program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_the_collector_rests_while_a_start_imports_and_works_afterwards() -> None:
    program = """
with no_collection():
    runs.clear()
    loops(5000)
    print(len(runs), end=" ")
loops(5000)
print(len(runs) > 0, gc.isenabled())
"""
    assert run(program) == "0 True True"


def test_what_a_start_made_is_not_looked_through_again() -> None:
    program = """
with no_collection():
    kept = [[] for _ in range(5000)]
print(any(one is kept for one in gc.get_objects()), gc.get_freeze_count() > 5000)
"""
    assert run(program) == "False True"


@pytest.mark.parametrize("before", ["enable", "disable"])
def test_a_start_that_fails_leaves_the_collector_as_it_was(before: str) -> None:
    program = f"""
gc.{before}()
try:
    with no_collection():
        raise ImportError
except ImportError:
    print(gc.isenabled())
"""
    assert run(program) == str(before == "enable")
