"""`python -m worker`: one worker process for one device."""

import sys

from shared.log import configure_logging
from shared.settings import load_settings
from worker.process import WorkerProcess


def main() -> int:
    settings = load_settings()
    configure_logging(settings)
    with WorkerProcess(settings) as worker:
        worker.consume()
    return 0


if __name__ == "__main__":
    sys.exit(main())
