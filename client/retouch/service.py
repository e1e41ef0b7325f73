"""The service that a command works with: the one that runs already, or one of its own.

Owns that choice. A service of its own lives for the length of the command, in a temporary folder,
opened by a key that only this command knows.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retouch.client import Client
from retouch.console import language, progress_line, say
from retouch.interrupts import Interrupts
from retouch.problems import RetouchProblem
from retouch.stack.plan import StackPlan
from retouch.stack.ports import LOOPBACK, free_port, reachable_url
from retouch.stack.stack import Stack
from shared.settings import Settings


@contextmanager
def service(settings: Settings, interrupts: Interrupts, *, workers: int = 1) -> Iterator[Client]:
    """A client of the server at RETOUCH_URL when it answers, else of an embedded one.

    Without that variable, the server is looked for where `retouch up` would start it. Raises
    RetouchProblem when the variable is set and nobody answers there, and what Stack.start raises.
    """
    url = server_url(settings)
    if _answers(url, settings):
        with Client(url, settings.api_key or None, language()) as client:
            yield client
    elif settings.url:
        raise RetouchProblem(
            "unreachable",
            f"No retouch server answers at {url}.",
            advice="Check RETOUCH_URL, or unset it to work without a server.",
        )
    else:
        with _embedded(settings, interrupts, workers) as client:
            yield client


def server_url(settings: Settings) -> str:
    """Where a server would be."""
    return settings.url or reachable_url(settings.host, settings.port)


def _answers(url: str, settings: Settings) -> bool:
    with Client(url, settings.api_key or None, patience_seconds=0.0) as probe:
        return probe.is_retouch()


@contextmanager
def _embedded(settings: Settings, interrupts: Interrupts, workers: int) -> Iterator[Client]:
    say(f"No server at {server_url(settings)}: starting one for this call.")
    folder, key = Path(tempfile.mkdtemp(prefix="retouch-")), secrets.token_hex(16)
    stack = Stack(_plan(settings, folder, key, workers), interrupts, say)
    try:
        with progress_line() as tell:
            stack.start(tell)
        with Client(stack.url, key, language()) as client:
            yield client
    finally:
        stack.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _plan(settings: Settings, folder: Path, key: str, workers: int) -> StackPlan:
    """Everything in `folder`: a store or blobs named in the environment are not this call's."""
    own = {
        "RETOUCH_API_KEYS": key,
        "RETOUCH_RATE_LIMIT": "off",
        "RETOUCH_BROKER_URL": "",
        "RETOUCH_BLOB_URL": "",
    }
    return StackPlan(settings, folder, LOOPBACK, free_port(), workers=workers, overrides=own)
