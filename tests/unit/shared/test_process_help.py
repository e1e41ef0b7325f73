"""Processes without options of their own answer `--help`, and start nothing for it."""

import subprocess
import sys

import pytest

from shared.settings import REPOSITORY

MODULES = ("api", "worker", "shared.monitor")


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=REPOSITORY
    )


@pytest.mark.parametrize("module", MODULES)
def test_help_is_printed_and_the_process_ends(module: str) -> None:
    ended = run(module, "--help")

    assert ended.returncode == 0
    assert ".env.example lists all" in ended.stdout
    assert ended.stderr == ""


@pytest.mark.parametrize("module", MODULES)
def test_an_argument_that_nobody_reads_is_refused(module: str) -> None:
    ended = run(module, "--port", "80")

    assert ended.returncode == 2
    assert "--port" in ended.stderr
