"""`python -m worker`: one worker, which is an engine process and the supervisor that restarts
it.
"""

import argparse
import os
import sys

from shared.ledger.redis_client import connect
from shared.log import configure_logging
from shared.process_help import SETTINGS
from shared.settings import load_settings
from worker.process.child_reaper import ChildReaper
from worker.process.supervisor import Supervisor


def main() -> int:
    _take_options()
    settings = load_settings()
    configure_logging(settings)
    client = connect(settings.redis_url, prefix=settings.key_prefix)
    return Supervisor(settings, ChildReaper(client, settings)).run()


def _take_options() -> None:
    """The engine process reads the same environment."""
    parser = argparse.ArgumentParser(
        prog="retouch worker",
        description="Run one worker until SIGTERM or Ctrl-C.",
        epilog=SETTINGS,
    )
    parser.add_argument(
        "--base",
        metavar="BASE",
        help="folder, .safetensors file or hub id to serve instead of RETOUCH_BASE_MODEL",
    )
    base = parser.parse_args().base
    if base is not None:
        os.environ["RETOUCH_BASE_MODEL"] = base


if __name__ == "__main__":
    sys.exit(main())
