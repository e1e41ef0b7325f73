"""TCP ports of this machine: which are free, and who holds one that is not."""

import random
import socket
from contextlib import suppress

import psutil

from retouch.address import LOOPBACK
from retouch.stack.refusal import PortTaken

# Below the ports that systems give to outgoing connections (Linux from 32,768, others from 49,152):
# none of those can take a port between its choice and its use.
CHOICES = range(20_000, 32_768)
TRIES = 100


def free_port() -> int:
    """A port of the loopback address that is free now, chosen at random. Raises PortTaken."""
    for port in random.SystemRandom().sample(CHOICES, TRIES):
        with suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port
    raise PortTaken(f"No port of {LOOPBACK} can be used; {TRIES} were tried.")


def require_free(host: str, port: int, option: str) -> None:
    """Raises PortTaken, naming the option that chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return
    except OSError as error:
        other = f"`{option} {port + 1}`" if port < 65535 else f"`{option}` with a smaller number"
        raise PortTaken(
            f"Port {port} on {host} cannot be used: {error.strerror}{_holder(port)}. "
            f"Stop what uses it, or choose another port with {other}."
        ) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                name = psutil.Process(connection.pid).name() if connection.pid else ""
                return f" (held by {name}, process {connection.pid})" if name else ""
    except (psutil.Error, OSError):
        pass  # another user's process, which the system does not reveal
    return ""
