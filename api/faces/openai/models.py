"""The values of `model`: `retouch` chooses a LoRA by the measured damage, `retouch/LORA` names one
of the catalogue, and a base's own id means that base without a LoRA.
"""

from typing import Any

from api.faces.openai.errors import ModelNotFound
from api.jobs.job_form import AUTO, NONE
from api.services import Services
from api.wire.sentence import Sentence
from shared.loras.entry import LoraState

RETOUCH = "retouch"
# The protocol requires a creation time; these models have no meaningful one.
CREATED = 1_767_225_600


def model_ids(services: Services) -> list[str]:
    """Every model that a request may name."""
    usable = [entry for entry in services.catalog.entries() if entry.state is LoraState.AVAILABLE]
    bases = [one.name for one in services.roster.candidates()]
    return [RETOUCH, *bases, *(f"{RETOUCH}/{entry.name}" for entry in usable)]


def model_view(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": CREATED, "owned_by": RETOUCH}


def lora_of(services: Services, model: str | None) -> str:
    """The job's `lora` for this model; the catalogue checks the name. Raises ModelNotFound,
    StoreUnavailable.
    """
    if model in (None, "", RETOUCH):
        return AUTO
    assert model is not None
    if base_of(services, model) is not None:
        return NONE
    family, _, name = model.partition("/")
    if family == RETOUCH and name:
        return name
    raise no_model(model)


def base_of(services: Services, model: str | None) -> str | None:
    """The job's `base` for this model; None if the model is a LoRA. Raises StoreUnavailable."""
    names = [one.name for one in services.roster.candidates()]
    return model if model in names else None


def no_model(model: str) -> ModelNotFound:
    """The error about a model that does not exist."""
    return ModelNotFound(
        Sentence(
            f"there is no model '{model[:80]}'; GET /v1/models lists them, and 'retouch' chooses "
            "a LoRA by the picture",
            f"没有名为“{model[:80]}”的模型；GET /v1/models 列出全部，retouch 会按图片自动选择",
        )
    )
