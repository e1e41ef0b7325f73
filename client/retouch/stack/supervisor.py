"""Keeps the stack's children running: one that ends is restarted, with increasing delays.

Owns the supervision and the order of the end. Does not know what the children do.
"""

import threading
import time
from collections.abc import Callable, Sequence

from retouch.stack.child_process import Child, ChildSpec
from retouch.stack.refusal import ChildFailed
from shared.periodic import Periodic

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
# A child that ran this long is not in a crash loop; its next restart is immediate again.
SETTLED_SECONDS = 60.0
LOOK_SECONDS = 0.1


class Supervisor:
    """The children of one stack. Always call `end` last.

    `say` gets a message for each restart. Until `settle` is called, a child's end is a failure
    (`require_alive` raises it) and nothing is restarted.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._children: list[Child] = []
        self._restarts: dict[str, _Restarts] = {}
        self._lock = threading.Lock()
        self._ending = False
        # This thread also starts children, and so has to outlive them: see child_process.py.
        self._watch = Periodic("supervisor", self._keep_alive, LOOK_SECONDS)

    def start(self, spec: ChildSpec) -> None:
        """Starts one more child. They end in groups, see `end`."""
        child = Child(spec)
        with self._lock:
            child.start()
            self._children.append(child)

    def require_alive(self) -> None:
        """Raises ChildFailed for a child that has ended."""
        with self._lock:
            for child in self._children:
                if child.needs_reaping:
                    raise ChildFailed(_obituary(child, child.reap()))

    def settle(self) -> None:
        """From now on, restarts children that end."""
        self._watch.start()

    def end(self, order: Sequence[Callable[[str], bool]], hurried: Callable[[], bool]) -> None:
        """Ends the children group by group: each item of `order` selects a group by name."""
        with self._lock:
            self._ending = True
        for belongs in order:
            group = [child for child in self._children if belongs(child.spec.name)]
            for child in group:
                child.terminate()
            for child in group:
                child.end(hurried)
        for child in self._children:
            child.reap()
        self._watch.stop(timeout=None)

    def _keep_alive(self) -> None:
        with self._lock:
            if not self._ending:
                self._look()

    def _look(self) -> None:
        for child in self._children:
            restarts = self._restarts.setdefault(child.spec.name, _Restarts())
            if child.needs_reaping:
                ran = time.monotonic() - child.started_at
                delay = restarts.plan(ran)
                status = child.reap()
                self._say(f"{_obituary(child, status)}\nRestarting it in {delay:.0f} s.")
            elif restarts.is_due and not child.is_running:
                restarts.done()
                child.start()


class _Restarts:
    """When a child is restarted: after 1 s, 2 s, 4 s, at most 30 s."""

    def __init__(self) -> None:
        self._delay = FIRST_DELAY_SECONDS
        self._due_at: float | None = None

    def plan(self, ran_seconds: float) -> float:
        delay = FIRST_DELAY_SECONDS if ran_seconds > SETTLED_SECONDS else self._delay
        self._delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        self._due_at = time.monotonic() + delay
        return delay

    @property
    def is_due(self) -> bool:
        return self._due_at is not None and time.monotonic() >= self._due_at

    def done(self) -> None:
        self._due_at = None


def _obituary(child: Child, status: int | None) -> str:
    how = f"was killed by signal {-status}" if status and status < 0 else f"ended ({status})"
    lines = child.last_lines()
    return f"{child.spec.title} {how}; its log is {child.spec.log}" + (
        f"\n{lines}" if lines else ""
    )
