"""`python -m worker.process.alive`: whether a worker of this machine has a recent heartbeat.

A container's health check: fast, without torch, and successful only if jobs can be accepted.
"""

import socket
import sys

from shared.errors import RetouchError
from shared.ledger.fleet import Fleet
from shared.ledger.redis_client import connect
from shared.settings import load_settings


def main() -> int:
    """0 if a worker on this host is alive, otherwise 1 with the reason."""
    try:
        settings = load_settings()
        workers = Fleet(connect(settings.redis_url, prefix=settings.key_prefix)).workers()
    except RetouchError as error:
        print(error, file=sys.stderr)
        return 1
    if any(worker.host == socket.gethostname() for worker in workers):
        return 0
    print("no worker of this host has a recent heartbeat", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
