"""Runs a part by its engine if there is one, and reports to listeners which way it ran.

Belongs to the engine's thread.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from worker.engine.built.engine_cache import EngineCache

USUAL = "torch"

Told = dict[str, set[str]]
"""By part, what has computed it."""


class Parts:
    """Looks parts up in the engine cache, if there is one."""

    def __init__(self, engine_cache: EngineCache | None = None) -> None:
        self._engine_cache = engine_cache
        self._listeners: list[Sequence[Told]] = []

    def built(
        self, part: str, inputs: Sequence[torch.Tensor], allowed: bool = True
    ) -> tuple[torch.Tensor, ...] | None:
        """The outputs of a part's engine; None if the part has to run eagerly."""
        output = None
        if self._engine_cache is not None and allowed:
            output = self._engine_cache.run(part, inputs)
        name = (
            self._engine_cache.name
            if self._engine_cache is not None and output is not None
            else USUAL
        )
        for told in self._listeners[-1] if self._listeners else ():
            told.setdefault(part, set()).add(name)
        return output

    def forget(self) -> int:
        """Unload all engines; returns how many there were."""
        return self._engine_cache.forget() if self._engine_cache is not None else 0

    @contextmanager
    def telling(self, listeners: Sequence[Told]) -> Iterator[None]:
        """Reports to these listeners what the block computes; blocks may be nested."""
        self._listeners.append(listeners)
        try:
            yield
        finally:
            self._listeners.pop()
