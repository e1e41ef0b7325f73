"""Loops that do not die: a supervised thread, or task, for what is done again and again.

Owns what happens when a round fails: it is logged and counted, and the loop goes on. A loop that
cannot go on ends the process, loudly: a service that only looks alive is worse than one that is
started again. Knows nothing of what the rounds do.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn

import structlog

from shared.errors import RetouchError

# Between two rounds of a loop that never pauses, when the first has failed.
PAUSE_SECONDS = 1.0
# The exit code of a process whose loop cannot go on; see worker/process/exits.py.
EXIT_CODE = 73

_failures: Counter[str] = Counter()
_last: dict[str, str] = {}

logger = structlog.get_logger(__name__)


def loop_failures() -> Mapping[str, int]:
    """Failed rounds of this process so far, by the loop's name."""
    return dict(_failures)


def note_failure(name: str, error: Exception) -> None:
    """Log and count a round that failed. What nobody foresaw comes with its traceback, once: a loop
    may fail many times a second.
    """
    _failures[name] += 1
    seen, _last[name] = _last.get(name), repr(error)
    if isinstance(error, RetouchError) or seen == repr(error):
        logger.warning("a round failed", loop=name, reason=repr(error), rounds=_failures[name])
    else:
        logger.error("a round failed in a way nobody foresaw", loop=name, exc_info=error)


class Periodic:
    """Calls `work` from a daemon thread until `stop`, with a pause before each round.

    `work` may return the seconds until its next round; None stands for `every`. `start` and `stop`
    come in pairs.
    """

    def __init__(self, name: str, work: Callable[[], float | None], every: float) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._work = work
        self._every = self._first_pause = every
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self, at_once: bool = False) -> None:
        """`at_once`: without a pause before the first round."""
        self._first_pause = 0.0 if at_once else self._every
        self._thread.start()

    def stop(self, timeout: float | None = 5.0) -> None:
        """No round begins any more; waits for the one under way, for `timeout` at most."""
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
    """The same as a task of the event loop, which ends by being canceled."""
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
    """A loop cannot go on, and nothing else of this process may pretend that it does."""
    logger.critical("a loop cannot go on; the process ends", loop=name, exc_info=error)
    os._exit(EXIT_CODE)
