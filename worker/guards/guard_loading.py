"""Loads the guards named by the settings, or says which of them cannot be loaded.

Guards fail closed: a worker whose guard cannot be loaded does not start.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from shared.bases import TINY, identify_base
from shared.settings import Settings
from worker.guards.panel import Classifier, Comparison, Guards, Mark, Policy

logger = structlog.get_logger(__name__)

Guard = TypeVar("Guard")


class GuardUnavailable(Exception):
    """Raised when a guard that is switched on cannot be loaded; the text says what to do."""


def load_guards(settings: Settings) -> Guards:
    """Loads the guards. Raises GuardUnavailable."""
    wanted = settings.guard_names
    unsafe = _load("unsafe", _unsafe) if "unsafe" in wanted else None
    marks = {
        mark: _load(name, partial(load, settings)) for mark, name, load in _MARKS if name in wanted
    }
    logger.info("guards loaded", on=sorted(wanted))
    policy = Policy(settings.unsafe_low, settings.unsafe_high, settings.unsafe_between)
    return Guards(unsafe, marks, policy)


def _load(name: str, load: Callable[[], Guard]) -> Guard:
    try:
        return load()
    except Exception as error:
        raise GuardUnavailable(
            f"the guard '{name}' cannot be loaded ({type(error).__name__}: {error}). No picture "
            "leaves without it: install the worker's dependencies anew (`make install` in a "
            f"checkout of retouch), or take '{name}' out of RETOUCH_GUARDS."
        ) from error


# Imported only when needed: together they take a second or two.
def _unsafe() -> Classifier:
    from worker.guards.unsafe import OpenNsfw

    return OpenNsfw()


def _codes(_settings: Settings) -> Comparison:
    from worker.guards.codes import CodeGuard

    return CodeGuard()


def _text(_settings: Settings) -> Comparison:
    from worker.guards.text import TextGuard

    return TextGuard()


def _watermarks(settings: Settings) -> Comparison:
    from worker.guards.marks import MarkGuard

    return MarkGuard(identify_base(settings.base_model) == TINY)


_MARKS: tuple[tuple[Mark, str, Callable[[Settings], Comparison]], ...] = (
    ("code", "codes", _codes),
    ("text", "text", _text),
    ("mark", "marks", _watermarks),
)
