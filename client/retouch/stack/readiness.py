"""Describes what a stack is still waiting for.

Owns the reading of `/readyz` and the check of an external store.
"""

import socket
from urllib.parse import urlsplit

from retouch.problems import RetouchProblem
from retouch.stack.refusal import NoStore

CONNECT_SECONDS = 2.0


def waiting_for(problem: RetouchProblem) -> str:
    """A short text for a progress line."""
    if problem.code == "unreachable":
        return "starting the gateway"
    if problem.code == "no_worker":
        return "loading the base model"
    return problem.detail


def require_store(url: str) -> None:
    """Raises NoStore if nothing listens at `url`."""
    parts = urlsplit(url)
    if parts.scheme == "sentinel":
        return  # the processes say themselves what they wait for
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(parts.path)
        else:
            address = (parts.hostname or "127.0.0.1", parts.port or 6379)
            socket.create_connection(address, CONNECT_SECONDS).close()
    except OSError as error:
        where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        raise NoStore(
            f"No store answers at {where} ({error.strerror or error}). Start it, correct "
            "RETOUCH_REDIS_URL, or unset that variable to use the embedded store."
        ) from error
