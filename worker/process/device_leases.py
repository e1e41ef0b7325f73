"""Which worker has which device: one expiring lease per device, so that replicas do not share one.

`docker compose up --scale worker=4` shows every replica the same devices; with leases each takes a
different one. Owns `device:{id}`. Does not know what a device is.
"""

from collections.abc import Sequence

import redis

from shared.ledger.redis_client import translated_errors

LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class DeviceLeases:
    """The leases of one holder, which has at most one. Every method raises StoreUnavailable or
    StorageFull.
    """

    def __init__(self, client: redis.Redis, holder: str, seconds: float = LEASE_SECONDS) -> None:
        self._redis = client
        self._holder = holder
        self._milliseconds = int(seconds * 1000)
        self._renew = client.register_script(_RENEW)
        self._give_back = client.register_script(_GIVE_BACK)

    def take(self, device_ids: Sequence[str]) -> str | None:
        """Leases the first device that is already ours or free; None if all are taken."""
        with translated_errors():
            mine = self._redis.get(f"device-of:{self._holder}")
            for device in sorted(device_ids, key=lambda device: device != mine):
                if self.renew(device) or self._redis.set(
                    f"device:{device}", self._holder, nx=True, px=self._milliseconds
                ):
                    self._redis.set(f"device-of:{self._holder}", device, px=self._milliseconds)
                    return device
        return None

    def renew(self, device: str) -> bool:
        """Renews a lease; False if it belongs to another holder or to nobody."""
        with translated_errors():
            self._redis.pexpire(f"device-of:{self._holder}", self._milliseconds)
            return bool(
                self._renew(keys=[f"device:{device}"], args=[self._holder, self._milliseconds])
            )

    def give_back(self) -> None:
        """Ends the lease, if there is one."""
        with translated_errors():
            device = self._redis.getdel(f"device-of:{self._holder}")
            if device is not None:
                self._give_back(keys=[f"device:{device!s}"], args=[self._holder])
