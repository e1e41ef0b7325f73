"""Runs a part by its engine if there is one, and reports to listeners which way it ran: by an
engine, by torch, or by torch with compiled blocks (worker/engine/compiled).

Belongs to the engine's thread.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from worker.engine.built.engine_cache import EngineCache
from worker.engine.compiled.use import CompiledBlocks

USUAL = "torch"

Told = dict[str, set[str]]
"""By part, what has computed it."""


class Parts:
    """Looks parts up in the engine cache, if there is one. `blocks` are those of the parts."""

    def __init__(
        self, engine_cache: EngineCache | None = None, blocks: CompiledBlocks | None = None
    ) -> None:
        self._engine_cache = engine_cache
        self._blocks = blocks
        self._listeners: list[Sequence[Told]] = []

    def built(
        self, part: str, inputs: Sequence[torch.Tensor], allowed: bool = True
    ) -> tuple[torch.Tensor, ...] | None:
        """The outputs of a part's engine; None if the part has to run as usual."""
        if self._engine_cache is None or not allowed:
            return None
        output = self._engine_cache.run(part, inputs)
        if output is not None:
            self._tell(part, {self._engine_cache.name})
        return output

    @contextmanager
    def usual(self, part: str) -> Iterator[None]:
        """Around a part's own computation."""
        if self._blocks is None:
            yield
            self._tell(part, {USUAL})
            return
        with self._blocks.listening() as names:
            yield
        self._tell(part, names or {USUAL})

    @property
    def generation(self) -> int:
        """Grows when compiled blocks have got or lost code."""
        return self._blocks.generation if self._blocks is not None else 0

    @contextmanager
    def listening(self) -> Iterator[set[str]]:
        """What runs compiled blocks inside, for `repeat`."""
        if self._blocks is None:
            yield set()
            return
        with self._blocks.listening() as names:
            yield names

    def repeat(self, names: Iterable[str]) -> None:
        """Tells of blocks that run again without being called, in a CUDA graph."""
        if self._blocks is not None:
            for name in names:
                self._blocks.tell(name)

    def _tell(self, part: str, names: Iterable[str]) -> None:
        for told in self._listeners[-1] if self._listeners else ():
            told.setdefault(part, set()).update(names)

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
