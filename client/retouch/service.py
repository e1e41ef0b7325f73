"""The service that a command uses: a running one, or one started for the command.

Owns that choice.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from retouch.address import Address, find_address
from retouch.client import Client
from retouch.console import language, say
from retouch.interrupts import Interrupts
from retouch.problems import RetouchProblem
from retouch.server_packages import server_packages


@contextmanager
def service(interrupts: Interrupts, *, workers: int = 1) -> Iterator[Client]:
    """A client of the server at RETOUCH_URL if it answers, otherwise of an embedded one.

    Without that variable, the server is expected where `retouch up` would start it. Raises
    RetouchProblem if the variable is set and no server answers there, ServerPackagesMissing if
    there is no server and none can be started here, and the errors of Stack.start.
    """
    address = find_address()
    if _answers(address):
        with Client(address.url, address.api_key, language()) as client:
            yield client
    elif address.is_named:
        raise RetouchProblem(
            "unreachable",
            f"No retouch server answers at {address.url}.",
            advice="Check RETOUCH_URL, or unset it to work without a server.",
        )
    else:
        with server_packages(f"No server answers at {address.url} (RETOUCH_URL), and starting one"):
            from retouch.stack.embedded import embedded_service
        say(f"No server at {address.url}: starting one for this call.")
        with embedded_service(interrupts, workers) as client:
            yield client


def _answers(address: Address) -> bool:
    with Client(address.url, address.api_key, patience_seconds=0.0) as probe:
        return probe.is_retouch()
