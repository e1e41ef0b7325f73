"""The ledger's Lua scripts, each in its own file and run with the shared prelude before it."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.commands.core import Script

from shared.errors import StoreUnavailable
from shared.ledger.redis_client import prefix_of, translated_errors

# A store without free memory refuses new jobs; accepted jobs are still finished (Redis 7 and
# later).
GOES_ON_WITHOUT_MEMORY = "#!lua flags=allow-oom\n"
STOPS_WITHOUT_MEMORY = {"submit"}
# What they write is promised to somebody (RETOUCH_STORE_REPLICAS).
ACKNOWLEDGED = frozenset({"submit", "commit"})
REPLICATION_MS = 1000


@cache
def source(name: str, prefix: str = "") -> str:
    """The full text of one script, which puts the prefix before every key."""
    folder = files("shared.ledger").joinpath("lua")
    parts = (
        folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name)
    )
    header = "" if name in STOPS_WITHOUT_MEMORY else GOES_ON_WITHOUT_MEMORY
    return header + "\n".join(parts).replace("@PREFIX@", prefix)


class Scripts:
    """Runs scripts by name on one connection pool."""

    def __init__(self, client: redis.Redis, replicas: int = 0) -> None:
        self._client = client
        self._replicas = replicas
        self._registered: dict[str, Script] = {}

    def run(self, name: str, *args: str | int | float) -> Any:
        """Runs a script. Raises StoreUnavailable or StorageFull."""
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(
                source(name, prefix_of(self._client))
            )
        try:
            with translated_errors():
                if self._replicas and name in ACKNOWLEDGED:
                    return self._replicated(script, args)
                return script(args=list(args))
        except StoreUnavailable:
            # Idle connections in the pool are just as dead, and each would cost the same wait
            # again.
            self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    def _replicated(self, script: Script, args: Sequence[str | int | float]) -> Any:
        """Runs a script and waits for replicas. Raises StoreUnavailable: it may still have run."""
        with self._client.pipeline(transaction=False) as pipe:
            script(args=list(args), client=pipe)
            # WAIT counts from this connection's last write, and a repeated script writes nothing.
            pipe.set("replicated", 1, px=1000)
            pipe.wait(self._replicas, REPLICATION_MS)
            outcome, _, reached = pipe.execute()
        if reached < self._replicas:
            raise StoreUnavailable(f"{reached} of {self._replicas} replicas of the store follow")
        return outcome
