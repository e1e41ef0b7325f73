"""From settings to an engine with a loaded, warm base."""

from shared.bases import identify_base
from shared.checkpoints.judgement import check_checkpoint
from shared.collector import no_collection
from shared.settings import Settings
from worker.engine.interface import Engine


def make_engine(settings: Settings) -> Engine:
    """The engine named by the settings, with its base loaded and warm."""
    return _make_fake(settings) if settings.engine == "fake" else _make_real(settings)


def _make_fake(settings: Settings) -> Engine:
    from worker.engine.testing.fake import FakeEngine, fake_fingerprint

    device = "fake" if settings.device == "auto" else settings.device
    base = identify_base(settings.base_model).id
    return FakeEngine(
        base,
        settings.fake_step_seconds,
        device,
        settings.fake_faults,
        fake_fingerprint(settings.base_model),
        settings.fake_lora_seconds,
        settings.lora_slots,
    )


def _make_real(settings: Settings) -> Engine:
    # Before the libraries are imported, which takes longer.
    check_checkpoint(settings.base_model)
    with no_collection():
        import torch
        import transformers

        # Must run before diffusers asks for image processors of models that are not used here.
        transformers.logging.set_verbosity_error()

        from worker.engine.base.base_loading import choose_device, load_base
        from worker.engine.engine_choice import warm_engine
        from worker.engine.trial_job import try_engine

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    loaded = load_base(
        settings.base_model, device, settings.precision, settings.profile, settings.quantize
    )
    engine = warm_engine(loaded, settings)
    try:
        try_engine(engine)
    except BaseException:
        engine.close()
        raise
    return engine
