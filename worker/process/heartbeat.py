"""Announces this worker to the fleet, so that the gateway knows which workers are alive."""

from collections.abc import Callable
from contextlib import suppress

from shared.errors import RetouchError
from shared.ledger.fleet import HEARTBEAT_SECONDS, Fleet, WorkerInfo
from shared.periodic import Periodic


class Heartbeat:
    """A thread that announces the result of `describe`. `start` and `stop` come in pairs."""

    def __init__(self, fleet: Fleet, describe: Callable[[], WorkerInfo]) -> None:
        self._fleet = fleet
        self._describe = describe
        self._loop = Periodic("heartbeat", self._beat, HEARTBEAT_SECONDS)

    def start(self) -> None:
        self._loop.start(at_once=True)

    def stop(self) -> None:
        self._loop.stop()
        with suppress(RetouchError):  # a heartbeat that is left behind expires by itself
            self._fleet.withdraw(self._describe().id)

    def _beat(self) -> None:
        self._fleet.announce(self._describe())
