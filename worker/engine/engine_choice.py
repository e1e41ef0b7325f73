"""Which engine runs a base: the step engine if its family allows it, otherwise diffusers."""

import sys
from dataclasses import replace

import structlog

from shared.settings import Settings
from worker.engine.base.loaded_base import STEP_FAMILIES, LoadedBase
from worker.engine.base.profiles import choose_limits
from worker.engine.built.compiler import CannotBuild, tensorrt
from worker.engine.built.engine_cache import ENGINES, EngineCache
from worker.engine.compiled.background import Background
from worker.engine.compiled.shelf import FOLDER
from worker.engine.compiled.toolchain import has_compiler
from worker.engine.compiled.use import CompiledBlocks
from worker.engine.diffusers_engine import DiffusersEngine
from worker.engine.interface import Engine
from worker.engine.step.schedule import UnsupportedSchedule
from worker.engine.step.step_engine import StepEngine

logger = structlog.get_logger(__name__)

# The types of the devices for which blocks are compiled.
DEVICES = ("cpu", "cuda")


def warm_engine(loaded: LoadedBase, settings: Settings) -> Engine:
    """The engine for a loaded base. Raises UnsupportedSchedule if `step` is required but not
    possible.
    """
    if settings.engine == "diffusers" or not _is_known(loaded, settings.engine):
        return DiffusersEngine(loaded, settings.lora_slots)
    limits = choose_limits(loaded)
    if limits.profile == "sequential_offload":
        return DiffusersEngine(loaded, settings.lora_slots)
    limits = replace(limits, graphs=limits.graphs and settings.cuda_graphs)
    try:
        engine_cache = find_engine_cache(loaded, settings)
        return StepEngine(loaded, limits, engine_cache, find_blocks(loaded, settings))
    except UnsupportedSchedule as error:
        if settings.engine == "step":
            raise
        logger.warning("one picture at a time", reason=str(error))
        return DiffusersEngine(loaded, settings.lora_slots)


def find_engine_cache(loaded: LoadedBase, settings: Settings) -> EngineCache | None:
    """The TensorRT engines built for this deployment, if there are any and they can be used
    here.
    """
    folder = settings.data_dir / ENGINES
    if not settings.built_engines or not folder.is_dir():
        return None
    try:
        return EngineCache(folder, loaded, tensorrt())
    except CannotBuild as error:
        logger.warning("TensorRT engines not used", reason=str(error))
        return None


def find_blocks(loaded: LoadedBase, settings: Settings) -> CompiledBlocks | None:
    """The base's blocks with code that is made in the background; None where none would be used."""
    device = loaded.device
    if settings.compile == "off" or device.type not in DEVICES or sys.platform == "win32":
        return None
    networks = {"unet": loaded.pipeline.unet, "vae": loaded.pipeline.vae}
    background = Background(settings.data_dir / FOLDER, makes=has_compiler(device), device=device)
    return CompiledBlocks(networks, background)


def _is_known(loaded: LoadedBase, wanted: str) -> bool:
    if loaded.base.id in STEP_FAMILIES:
        return True
    if wanted == "step":
        raise UnsupportedSchedule(f"the step engine does not support {loaded.base.label}")
    return False
