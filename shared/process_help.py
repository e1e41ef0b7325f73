"""The arguments of processes that are configured by settings alone: there are none but `--help`."""

import argparse
from collections.abc import Sequence

SETTINGS = "Its settings are RETOUCH_* variables or lines of .env; .env.example lists all of them."


def take_no_arguments(name: str, text: str, arguments: Sequence[str] | None = None) -> None:
    """Answers `--help` and ends the process; refuses everything else, also before it has begun."""
    argparse.ArgumentParser(prog=name, description=text, epilog=SETTINGS).parse_args(arguments)
