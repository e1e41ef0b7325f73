"""Small facts about a caller that the gateways store for a while, in the store that they share.

Owns `note:{...}`; every note has a time to live. Only a note's writer knows its meaning.
"""

import asyncio
from contextlib import suppress
from typing import cast

import redis

from shared.errors import RetouchError
from shared.ledger.redis_client import translated_errors


class Notes:
    """Texts and lists by name. Called from threads; every method raises StoreUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def write(self, name: str, text: str, seconds: int) -> None:
        with translated_errors():
            self._redis.set(f"note:{name}", text, ex=seconds)

    def read(self, name: str) -> str | None:
        with translated_errors():
            return cast(str | None, self._redis.get(f"note:{name}"))

    def drop(self, name: str) -> None:
        with translated_errors():
            self._redis.delete(f"note:{name}")

    def add(self, name: str, items: list[str], seconds: int) -> None:
        """Appends these to a list."""
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.rpush(f"note:{name}", *items)
            pipe.expire(f"note:{name}", seconds)
            pipe.execute()

    def items(self, name: str) -> list[str]:
        with translated_errors():
            return cast(list[str], self._redis.lrange(f"note:{name}", 0, -1))

    def remove_later(self, name: str, items: list[str]) -> None:
        """Removes these without waiting for it, from the event loop; they also expire by
        themselves.
        """
        asyncio.get_running_loop().run_in_executor(None, self._remove_quietly, name, items)

    def _remove_quietly(self, name: str, items: list[str]) -> None:
        with suppress(RetouchError):
            self.remove(name, items)

    def remove(self, name: str, items: list[str]) -> None:
        with translated_errors(), self._redis.pipeline() as pipe:
            for item in items:
                pipe.lrem(f"note:{name}", 0, item)
            pipe.execute()
