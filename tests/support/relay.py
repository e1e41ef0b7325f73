"""A line to a service that can be cut and restored, at an address of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from retouch.stack.ports import free_port


class Relay:
    """Passes connections on to a port of this machine while it is up."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def down(self) -> None:
        """New connections are refused, those that are open end."""
        for each in (self._listener, *self._open):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._listener = None
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                service = socket.create_connection(("127.0.0.1", self.target))
                self._open += [caller, service]
                for pair in ((caller, service), (service, caller)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(url: str) -> Iterator[Relay]:
    """A relay to this service, up."""
    relay = Relay(int(url.rpartition(":")[2]))
    relay.up()
    yield relay
    relay.down()
