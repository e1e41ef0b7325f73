"""Redis clients that put one prefix before every key and channel, for stores shared with others.

Owns which arguments of a command are keys. Scripts get their keys' prefix by their prelude
(scripts.py), Celery's by Kombu.
"""

from collections.abc import Sequence
from typing import Any

import redis
import redis.asyncio
from redis.client import Pipeline

# Commands without a key; of all others, the first argument is one.
KEYLESS = frozenset({"INFO", "TIME", "PING", "WAIT", "AUTH", "SELECT", "MULTI", "EXEC", "DISCARD"})
KEYLESS_FAMILIES = ("SCRIPT ", "CONFIG ", "CLIENT ", "ACL ")
ALL_KEYS = frozenset({"MGET", "DEL", "UNLINK", "EXISTS", "RENAME", "TOUCH", "WATCH"})
ALL_BUT_LAST = frozenset({"BLPOP", "BRPOP"})
SCRIPTS = frozenset({"EVAL", "EVALSHA"})


def prefixed(prefix: str, arguments: Sequence[Any]) -> tuple[Any, ...]:
    """A command with its arguments, of which the keys have the prefix."""
    command = str(arguments[0])
    begin, end = _keys_of(command, arguments)
    return tuple(
        _with(prefix, argument) if begin <= place < end else argument
        for place, argument in enumerate(arguments)
    )


def _keys_of(command: str, arguments: Sequence[Any]) -> tuple[int, int]:
    if command in KEYLESS or command.startswith(KEYLESS_FAMILIES):
        return 0, 0
    if command in ALL_KEYS:
        return 1, len(arguments)
    if command in ALL_BUT_LAST:
        return 1, len(arguments) - 1
    if command in SCRIPTS:
        return 3, 3 + int(arguments[2])
    if command == "XREAD":
        begin = 1 + next(n for n, word in enumerate(arguments) if word in (b"STREAMS", "STREAMS"))
        return begin, begin + (len(arguments) - begin) // 2
    return 1, 2


def _with(prefix: str, key: Any) -> Any:
    return prefix.encode() + key if isinstance(key, bytes) else f"{prefix}{key}"


def _without(prefix: str, command: str, answer: Any) -> Any:
    """An answer as if the keys in it had no prefix; ours name keys in these two alone."""
    if command in ALL_BUT_LAST and answer:
        key, *rest = answer
        return (key[len(prefix) :], *rest)
    return answer


class PrefixedPipeline(Pipeline):
    """A pipeline of a PrefixedRedis."""

    key_prefix = ""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        plain: Any = super()
        return plain.execute_command(*prefixed(self.key_prefix, args), **options)


class PrefixedRedis(redis.Redis):
    """A client whose `key_prefix` is set after it was made."""

    key_prefix = ""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        plain: Any = super()
        answer = plain.execute_command(*prefixed(self.key_prefix, args), **options)
        return _without(self.key_prefix, str(args[0]), answer)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        pipe = PrefixedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipe.key_prefix = self.key_prefix
        return pipe


class PrefixedAsyncRedis(redis.asyncio.Redis):
    """The same for the event loop."""

    key_prefix = ""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        plain: Any = super()
        return await plain.execute_command(*prefixed(self.key_prefix, args), **options)
