"""`python -m worker`: one worker, that is an engine process and the supervisor that keeps it up."""

import sys

from shared.ledger.redis_client import connect
from shared.log import configure_logging
from shared.settings import load_settings
from worker.supervisor import Supervisor
from worker.undertaker import Undertaker


def main() -> int:
    settings = load_settings()
    configure_logging(settings)
    return Supervisor(settings, Undertaker(connect(settings.redis_url), settings)).run()


if __name__ == "__main__":
    sys.exit(main())
