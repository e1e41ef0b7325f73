"""Engines: what turns pixels into better pixels on one device."""

from shared.bases import identify_base
from shared.settings import Settings
from worker.engine.interface import Engine


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name, with its base loaded and warm."""
    if settings.engine == "fake":
        from worker.engine.fake import FakeEngine

        return FakeEngine(identify_base(settings.base_model).id, settings.fake_step_seconds)
    import torch
    import transformers

    # Before diffusers asks for image processors of models that nobody uses here.
    transformers.logging.set_verbosity_error()

    from worker.engine.diffusers_engine import DiffusersEngine
    from worker.engine.loading import choose_device, load_base

    if settings.threads:
        torch.set_num_threads(settings.threads)
    loaded = load_base(settings.base_model, choose_device(settings.device))
    return DiffusersEngine(loaded, settings.lora_slots)
