"""The lists that clients request first: models, samplers, LoRAs, upscalers.

Owns their format. File names are given without folders.
"""

from typing import Any

from api.services import Services
from shared.loras.entry import LoraState
from shared.params import DEFAULT_SAMPLER, Sampler
from shared.upscalers.entry import FILTER

NONE = "None"
LANCZOS = "Lanczos"
# AUTOMATIC1111's names. The first is the sampler that is used if neither request nor LoRA names
# one; clients send it by default.
SAMPLERS: dict[Sampler, str] = {
    "dpmpp_2m": "DPM++ 2M",
    "euler": "Euler",
    "lcm": "LCM",
    "tcd": "TCD",
    "once": "One step",
}
OTHER_NAMES = {"R-ESRGAN 4x+": "realesrgan_x4plus", LANCZOS: FILTER, "Nearest": FILTER}


def models(services: Services) -> list[dict[str, Any]]:
    """The bases that this deployment serves, its default first. Raises StoreUnavailable."""
    return [_model(one.name) for one in services.roster.candidates()]


def _model(name: str) -> dict[str, Any]:
    return {
        "title": name,
        "model_name": name,
        "hash": None,
        "sha256": None,
        "filename": name,
        "config": None,
    }


def samplers() -> list[dict[str, Any]]:
    """The samplers that the engine supports."""
    return [
        {"name": label, "aliases": [f"k_{name}"], "options": {}} for name, label in SAMPLERS.items()
    ]


def sampler_named(name: str | None) -> Sampler | None:
    """Our name for a client's sampler; None for an unsupported one and for the default."""
    known = {label.lower(): ours for ours, label in SAMPLERS.items() if ours != DEFAULT_SAMPLER}
    return known.get((name or "").lower())


def schedulers() -> list[dict[str, Any]]:
    return [
        {
            "name": "automatic",
            "label": "Automatic",
            "aliases": None,
            "default_rho": -1.0,
            "need_inner_model": False,
        }
    ]


def loras(services: Services) -> list[dict[str, Any]]:
    """The LoRAs that a prompt may name."""
    return [
        {
            "name": entry.name,
            "alias": entry.title.get("en") or entry.short_name,
            "path": entry.path.name,
            "metadata": {},
        }
        for entry in services.catalog.entries()
        if entry.state is LoraState.AVAILABLE
    ]


def upscalers(services: Services) -> list[dict[str, Any]]:
    """ "None", the filter, and the usable enlargers."""
    usable = [entry for entry in services.upscalers.entries() if entry.is_available]
    plain = [_upscaler(NONE, 4), _upscaler(LANCZOS, 4)]
    return plain + [_upscaler(entry.name, max(entry.factors)) for entry in usable]


def upscaler_named(services: Services, name: str | None) -> str | None:
    """Our name for an upscaler of the client's list; None for "None".

    A name that AUTOMATIC1111's clients have built in and that is not available here gives `auto`.
    """
    if name in (None, "", NONE):
        return None
    assert name is not None
    ours = OTHER_NAMES.get(name, name)
    known = {entry.name for entry in services.upscalers.entries() if entry.is_available}
    return "auto" if ours != name and ours not in known | {FILTER} else ours


def _upscaler(name: str, scale: int) -> dict[str, Any]:
    return {
        "name": name,
        "model_name": None,
        "model_path": None,
        "model_url": None,
        "scale": scale,
    }
