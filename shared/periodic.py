"""Background loops that do not die: a supervised thread, or asyncio task, for repeated work.

Owns the reaction to a failed round: it is logged and counted, and the loop continues. A loop that
cannot continue ends the process: a service that only looks alive is worse than one that is
restarted. Knows nothing of the rounds' work.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

import structlog

from shared.errors import RetouchError

# The pause after a failed round of a loop that otherwise never pauses.
PAUSE_SECONDS = 1.0
# The exit code of a process whose loop cannot continue; see worker/process/exits.py.
EXIT_CODE = 73

_failures: Counter[str] = Counter()
_last: dict[str, str] = {}

logger = structlog.get_logger(__name__)


def loop_failures() -> Mapping[str, int]:
    """Failed rounds of this process so far, by the loop's name."""
    return dict(_failures)


def note_failure(name: str, error: Exception) -> None:
    """Logs and counts a failed round. An unexpected error is logged with its traceback, but only
    once: a loop may fail many times a second.
    """
    _failures[name] += 1
    seen, _last[name] = _last.get(name), repr(error)
    if isinstance(error, RetouchError) or seen == repr(error):
        logger.warning("a round failed", loop=name, reason=repr(error), rounds=_failures[name])
    else:
        logger.error("a round failed unexpectedly", loop=name, exc_info=error)


class Periodic:
    """Calls `work` from a daemon thread until `stop`, with a pause before each round.

    `work` may return the seconds until its next round; None means `every`. `start` and `stop` come
    in pairs.
    """

    def __init__(self, name: str, work: Callable[[], float | None], every: float) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._work = work
        self._every = self._first_pause = every
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self, at_once: bool = False) -> None:
        """Starts the thread. `at_once`: no pause before the first round."""
        self._first_pause = 0.0 if at_once else self._every
        self._thread.start()

    def stop(self, timeout: float | None = 5.0) -> None:
        """Stops: no further round begins; waits for the running one, for `timeout` at most."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _loop(self) -> None:
        try:
            pause = self._first_pause
            while not self.stopping.wait(pause):
                pause = self._round()
        except BaseException as error:
            end_process(self._name, error)

    def _round(self) -> float:
        try:
            pause = self._work()
        except Exception as error:
            note_failure(self._name, error)
            return self._every or PAUSE_SECONDS
        return self._every if pause is None else pause


async def run_periodically(name: str, work: Callable[[], Awaitable[None]], every: float) -> None:
    """The same as a task of the event loop, which ends when it is canceled."""
    try:
        while True:
            try:
                await work()
            except Exception as error:
                note_failure(name, error)
            await asyncio.sleep(every)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        end_process(name, error)


def end_process(name: str, error: BaseException) -> NoReturn:
    """Ends the process because a loop cannot continue: nothing else of it may seem to work."""
    logger.critical("a loop cannot continue; the process ends", loop=name, exc_info=error)
    os._exit(EXIT_CODE)
