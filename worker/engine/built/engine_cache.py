"""TensorRT engines on disk, and their use at run time.

Each engine has a folder named by its key, with the key in a file beside it. It is written under
another name and renamed, so that an engine that is found is complete. Engines for other weights,
devices or versions have other names and are never read. One that fails is disabled for this process
with a line in the log, and the part runs eagerly. Belongs to the engine's thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog
import torch

from worker.engine.base.batch_sizes import BATCH_SIZES, padded
from worker.engine.base.disk_key import device_name, written_whole
from worker.engine.base.loaded_base import LoadedBase
from worker.engine.built.compiler import Compiler, Run
from worker.engine.built.key import BuildKey, Shape, fingerprint, shapes_of
from worker.engine.built.parts import DECODER, ENCODER, TEXTS, UNET

# Below the data folder; the service never clears it.
ENGINES = "engines"
ENGINE, KEY = "engine.pt2", "key.json"

# Errors that are not the engine's fault: the memory ladder and the loss of a device handle them.
NOT_ITS_FAULT = (torch.OutOfMemoryError, torch.AcceleratorError)

logger = structlog.get_logger(__name__)


class EngineCache:
    """The engines of one loaded base. `name` is what `ran_by` reports if one of them ran."""

    def __init__(self, folder: Path, loaded: LoadedBase, compiler: Compiler) -> None:
        self.name = compiler.name
        self._folder = folder
        self._compiler = compiler
        self._base = loaded.base.id
        self._device = device_name(loaded.device)
        # Computed now, while the weights are the base's own: later a LoRA may be merged into them.
        self._weights = {part: fingerprint(module) for part, module in _modules(loaded).items()}
        self._runs: dict[tuple[str, tuple[Shape, ...]], Run | None] = {}

    def build(self, part: str, module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
        """Builds a part for inputs of these shapes unless it exists; True if it was built now."""
        key = self._key(part, shapes_of(inputs))
        target = self._folder / key.digest
        if self._is_whole(target, key):
            return False
        with written_whole(target) as folder:
            self._compiler.build(module, inputs, folder / ENGINE)
            (folder / KEY).write_text(key.text)
        self._runs.clear()
        return True

    def run(self, part: str, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
        """The part's outputs for the inputs, each [N, ...]; None if no engine fits.

        For an engine with a larger batch size the last row is repeated.
        """
        count = inputs[0].shape[0]
        for size in _sizes(count):
            rows = inputs if size == count else [padded(x, size) for x in inputs]
            output = self._run(part, rows)
            if output is not None:
                return tuple(x[:count] for x in output)
        return None

    def forget(self) -> int:
        """Unload all engines until they are needed again; returns how many there were."""
        loaded = [held for held, run in self._runs.items() if run is not None]
        for held in loaded:
            del self._runs[held]
        return len(loaded)

    def _run(self, part: str, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
        held = (part, shapes_of(inputs))
        if held not in self._runs:
            self._runs[held] = self._found(part, held[1])
        run = self._runs[held]
        if run is None:
            return None
        try:
            output = run(*inputs)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            self._give_up(held, error)
            return None
        return tuple(output)

    def _found(self, part: str, shapes: tuple[Shape, ...]) -> Run | None:
        if not self._folder.is_dir():
            return None
        key = self._key(part, shapes)
        path = self._folder / key.digest
        if not self._is_whole(path, key):
            return None
        try:
            return self._compiler.load(path / ENGINE)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            logger.warning("TensorRT engine not loaded", part=part, reason=str(error)[:500])
            return None

    def _give_up(self, held: tuple[str, tuple[Shape, ...]], error: Exception) -> None:
        self._runs[held] = None
        logger.warning("TensorRT engine failed", part=held[0], reason=str(error)[:500])

    def _is_whole(self, path: Path, key: BuildKey) -> bool:
        try:
            return (path / ENGINE).is_file() and (path / KEY).read_text() == key.text
        except OSError:
            return False

    def _key(self, part: str, shapes: tuple[Shape, ...]) -> BuildKey:
        return BuildKey(
            base=self._base,
            part=part,
            weights=self._weights[part],
            device=self._device,
            versions=self._compiler.versions,
            shapes=shapes,
        )


def _sizes(count: int) -> Iterator[int]:
    yield count
    yield from (size for size in BATCH_SIZES if size > count)


def _modules(loaded: LoadedBase) -> Mapping[str, torch.nn.Module]:
    pipeline = loaded.pipeline
    found = {UNET: pipeline.unet, ENCODER: pipeline.vae, DECODER: pipeline.vae}
    texts = {name: getattr(pipeline, name, None) for name in TEXTS}
    return found | {name: module for name, module in texts.items() if module is not None}
