"""`python -m worker`: one worker, which is an engine process and the supervisor that restarts
it.
"""

import sys

from shared.ledger.redis_client import connect
from shared.log import configure_logging
from shared.settings import load_settings
from worker.process.child_reaper import ChildReaper
from worker.process.supervisor import Supervisor


def main() -> int:
    settings = load_settings()
    configure_logging(settings)
    return Supervisor(settings, ChildReaper(connect(settings.redis_url), settings)).run()


if __name__ == "__main__":
    sys.exit(main())
