"""Kombu's Redis transports with one client for each channel.

Kombu makes a new client for every command, ten for one picture, and each takes as long as the
command itself. A client of redis-py may be shared; its connections come from the channel's pool.
"""

from typing import Any

from kombu.transport import redis


class _OneClient:
    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        make = super()._create_client  # type: ignore[misc]
        if asynchronous:
            return make(asynchronous)  # has a connection of its own
        kept = self._kept
        if kept is None or kept.connection_pool is not self.pool:  # type: ignore[attr-defined]
            kept = self._kept = make()
        return kept


class Channel(_OneClient, redis.Channel):
    """Of a single server."""


class SentinelChannel(_OneClient, redis.SentinelChannel):
    """Of a primary that Sentinels name."""


class Transport(redis.Transport):
    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel
