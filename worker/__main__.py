"""`python -m worker`: one worker, which is an engine process and the supervisor that restarts
it.
"""

import argparse
import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from shared.log import configure_logging
from shared.process_help import SETTINGS
from shared.settings import Settings, load_settings
from worker.process.supervisor import Supervisor

if TYPE_CHECKING:
    from worker.process.child_reaper import ChildReaper


def main() -> int:
    _take_options()
    settings = load_settings()
    configure_logging(settings)
    status = Supervisor(settings, partial(_child_reaper, settings)).run()
    # Spares the interpreter its last look for garbage, a tenth of a second.
    gc.freeze()
    return status


def _child_reaper(settings: Settings) -> "ChildReaper":
    # Imported while the engine process starts.
    from shared.ledger.redis_client import connect
    from worker.process.child_reaper import ChildReaper

    return ChildReaper(connect(settings.redis_url, prefix=settings.key_prefix), settings)


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
