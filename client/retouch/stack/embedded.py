"""A service for one command: it lives as long as the command.

Owns its temporary folder and the key that only this command knows.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retouch.address import LOOPBACK
from retouch.client import Client
from retouch.console import language, progress_line, say
from retouch.interrupts import Interrupts
from retouch.stack.plan import StackPlan
from retouch.stack.ports import free_port
from retouch.stack.stack import Stack
from shared.settings import load_settings


@contextmanager
def embedded_service(interrupts: Interrupts, workers: int) -> Iterator[Client]:
    """A client of a service that is started now and stopped afterwards."""
    folder, key = Path(tempfile.mkdtemp(prefix="retouch-")), secrets.token_hex(16)
    stack = Stack(_plan(folder, key, workers), interrupts, say)
    try:
        with progress_line() as tell:
            stack.start(tell)
        with Client(stack.url, key, language()) as client:
            yield client
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _plan(folder: Path, key: str, workers: int) -> StackPlan:
    """Everything in `folder`: a store or blob store named in the environment is not used."""
    own = {
        "RETOUCH_API_KEYS": key,
        "RETOUCH_RATE_LIMIT": "off",
        "RETOUCH_BROKER_URL": "",
        "RETOUCH_BLOB_URL": "",
    }
    settings = load_settings()
    return StackPlan(settings, folder, LOOPBACK, free_port(), workers=workers, overrides=own)
