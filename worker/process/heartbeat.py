"""Announces this worker to the fleet, so that the gateway knows who is alive."""

import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from shared.errors import RetouchError
from shared.ledger.fleet import HEARTBEAT_SECONDS, Fleet, WorkerInfo

logger = structlog.get_logger(__name__)


class Heartbeat:
    """A thread that announces what `describe` says. `start` and `stop` come in pairs."""

    def __init__(self, fleet: Fleet, describe: Callable[[], WorkerInfo]) -> None:
        self._fleet = fleet
        self._describe = describe
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)
        with suppress(RetouchError):  # a heartbeat that stays behind expires by itself
            self._fleet.withdraw(self._describe().id)

    def _loop(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        try:
            self._fleet.announce(self._describe())
        except RetouchError as error:
            logger.warning("heartbeat failed", reason=str(error))
