"""The engine process under its supervisor.

python -m worker.process.engine_child WORKER_ID PARENT_PID
"""

import gc
import signal
import sys

from shared.collector import no_collection
from shared.die_with_parent import die_with


def main(worker_id: str, parent: int) -> int:
    """Runs the engine process and returns its exit code; worker/process/exits.py defines the
    codes.
    """
    die_with(parent)
    # Ctrl-C reaches every process of a terminal; only the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    # Slow imports come only now: until here nothing is lost if the parent dies.
    with no_collection():
        from shared.log import configure_logging
        from shared.settings import load_settings
        from shared.tracing import configure_tracing
        from worker.process.starting import start_worker

    settings = load_settings()
    configure_logging(settings)
    configure_tracing(settings, "retouch-worker")
    status = start_worker(settings, worker_id)
    # Everything is closed; the interpreter's last look for garbage would take seconds.
    gc.freeze()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
