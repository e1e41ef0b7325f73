"""Kombu's Redis transports for hints: one client for each channel, and no record in the store of
what a worker has received.

Kombu makes a new client for every command, ten for one picture, and each takes as long as the
command itself. A client of redis-py may be shared; its connections come from the channel's pool.

Kombu also records each received message in the store and removes it after its acknowledgement, so
that a message whose worker died comes back after the visibility timeout, a day. A hint that is lost
comes back within seconds, by the reaper; and one that a worker gives back at its end, unused, is
put into the queue as before.
"""

from typing import Any

from kombu.transport import redis, virtual


class Received(virtual.QoS):
    """Hints that a worker has received and not finished."""

    def restore_unacked(self) -> list[Any]:  # type: ignore[override]
        """Gives them back; where the store is away they are lost, and the reaper sends others."""
        super().restore_unacked()
        return []  # errors that are returned would be written to a file


class _ForHints:
    # Kombu's name for the records in the store.
    ack_emulation = False
    _kept: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.QoS = Received

    def _create_client(self, asynchronous: bool = False) -> Any:
        make = super()._create_client  # type: ignore[misc]
        if asynchronous:
            return make(asynchronous)  # has a connection of its own
        kept = self._kept
        if kept is None or kept.connection_pool is not self.pool:  # type: ignore[attr-defined]
            kept = self._kept = make()
        return kept


class Channel(_ForHints, redis.Channel):  # type: ignore[misc]
    """Of a single server."""


class SentinelChannel(_ForHints, redis.SentinelChannel):  # type: ignore[misc]
    """Of a primary that Sentinels name."""


class Transport(redis.Transport):
    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel
