"""`python -m worker`: one worker, which is an engine process and the supervisor that restarts
it.
"""

import sys

from shared.ledger.redis_client import connect
from shared.log import configure_logging
from shared.process_help import take_no_arguments
from shared.settings import load_settings
from worker.process.child_reaper import ChildReaper
from worker.process.supervisor import Supervisor


def main() -> int:
    take_no_arguments("retouch worker", "Run one worker until SIGTERM or Ctrl-C.")
    settings = load_settings()
    configure_logging(settings)
    client = connect(settings.redis_url, prefix=settings.key_prefix)
    return Supervisor(settings, ChildReaper(client, settings)).run()


if __name__ == "__main__":
    sys.exit(main())
