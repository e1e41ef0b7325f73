"""Which LoRAs are in memory: an LRU cache by bytes, keyed by the file's sha256, with pins.

Owns what stays and what is evicted. An adapter used by a job is pinned and never evicted. Reading
happens in the caller's thread, outside the lock, so that it runs beside the engine's steps. Does
not know how adapters are applied.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """An object that knows its size in bytes."""

    @property
    def size_bytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


@dataclass
class ResidencyCounts:
    """A residency's counters, for metrics."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    load_seconds: float = 0.0


@dataclass
class Switches:
    """How often LoRAs were put on the device, and how long that took."""

    count: int = 0
    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Counts the block as one switch, unless it fails."""
        started = time.perf_counter()
        yield
        self.count += 1
        self.seconds += time.perf_counter() - started


@dataclass
class _Slot(Generic[Item]):
    item: Item
    pins: int = 0


@dataclass
class Residency(Generic[Item]):
    """At most `limit_bytes` of items; the least recently used are evicted first. Safe from any
    thread.

    Pinned items may exceed the limit: nothing is taken from a running job. `pin` and `unpin` come
    in pairs.
    """

    limit_bytes: int
    counts: ResidencyCounts = field(default_factory=ResidencyCounts)
    _slots: OrderedDict[Hashable, _Slot[Item]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pin(self, key: Hashable, load: Callable[[], Item]) -> Item:
        """The item with this key, loaded if necessary, pinned until `unpin`. Raises the errors of
        `load`.
        """
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None:
                self.counts.hits += 1
                return self._held(key, slot)
        started = time.perf_counter()
        item = load()
        with self._lock:
            self.counts.misses += 1
            self.counts.load_seconds += time.perf_counter() - started
            slot = self._slots.setdefault(key, _Slot(item))
            held = self._held(key, slot)
            self._shrink(self.limit_bytes)
            return held

    def unpin(self, key: Hashable) -> None:
        """Removes one pin; the item may be evicted from now on."""
        with self._lock:
            self._slots[key].pins -= 1
            assert self._slots[key].pins >= 0, f"{key} was unpinned too often"
            self._shrink(self.limit_bytes)

    def drop_unused(self) -> int:
        """Frees every item without a pin; returns the number of bytes freed."""
        with self._lock:
            before = self._bytes()
            self._shrink(0)
            return before - self._bytes()

    def items(self) -> list[Item]:
        """The resident items, least recently used first."""
        with self._lock:
            return [slot.item for slot in self._slots.values()]

    def keys(self) -> list[Hashable]:
        """The keys of the resident items, least recently used first."""
        with self._lock:
            return list(self._slots)

    @property
    def size_bytes(self) -> int:
        with self._lock:
            return self._bytes()

    def _held(self, key: Hashable, slot: _Slot[Item]) -> Item:
        slot.pins += 1
        self._slots.move_to_end(key)
        return slot.item

    def _shrink(self, limit: int) -> None:
        for key in [key for key, slot in self._slots.items() if slot.pins == 0]:
            if self._bytes() <= limit:
                return
            del self._slots[key]
            self.counts.evictions += 1

    def _bytes(self) -> int:
        return sum(slot.item.size_bytes for slot in self._slots.values())
