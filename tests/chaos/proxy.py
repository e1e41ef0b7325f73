"""A TCP proxy that can let living connections fall into a black hole: open, silent, for good."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

LOOK_SECONDS = 0.2
CHUNK = 65_536


class Proxy:
    """Passes bytes between its own port and a server's. `start` and `close` come in pairs."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._holes: list[socket.socket] = []
        self._silent: set[socket.socket] = set()  # the server's ends that are not read any more
        self._words: bytes | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._loop, name="proxy", daemon=True)

    def start(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        for end in [self._listener, *self._pairs, *self._holes]:
            end.close()
        self._selector.close()

    def black_hole(self) -> int:
        """From now on nothing passes through the connections that are open; how many there are.

        They stay open: neither side is told. New connections are served as before.
        """
        with self._lock:
            ends = list(self._pairs)
            for end in ends:
                self._stop_reading(end)
            self._holes += ends
            self._pairs.clear()
        return len(ends) // 2

    def lose_answer_to(self, words: bytes) -> None:
        """The next request that has these words reaches the server, and no answer comes back: what
        was asked is done, and nobody is told.
        """
        with self._lock:
            self._words = words

    def is_waiting(self) -> bool:
        """Whether no such request has come yet."""
        return self._words is not None

    def _stop_reading(self, end: socket.socket) -> None:
        if end not in self._silent:
            self._silent.add(end)
            self._selector.unregister(end)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(LOOK_SECONDS):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                with self._lock:
                    self._accept() if end is self._listener else self._pass_on(end)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target, 1.0)
        except OSError:
            near.close()
            return
        self._pairs |= {near: far, far: near}
        for end in (near, far):
            self._selector.register(end, selectors.EVENT_READ)

    def _pass_on(self, end: socket.socket) -> None:
        other = self._pairs.get(end)
        if other is None:  # fell into the hole meanwhile
            return
        try:
            data = end.recv(CHUNK)
            if self._words is not None and self._words in data:
                self._words = None
                self._stop_reading(other)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for one in (end, other):
                self._stop_reading(one)
                self._silent.discard(one)
                self._pairs.pop(one)
                one.close()


@contextlib.contextmanager
def running_proxy(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
