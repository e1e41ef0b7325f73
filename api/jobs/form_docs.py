"""The multipart forms in the OpenAPI document, generated from the models that check them.

Owns documentation only: FastAPI does not parse these forms, so it cannot describe them.
"""

from typing import Any

from api.jobs.job_form import PARAM_FIELDS
from shared.params import MOST_LORAS, JobParams

_FILE = {
    "type": "string",
    "format": "binary",
    "description": "PNG, JPEG, WebP, HEIC, AVIF, TIFF, BMP or a still GIF; 50 MiB and 50 "
    "megapixels by default.",
}
_LORA = {
    "type": "array",
    "items": {"type": "string"},
    "maxItems": MOST_LORAS,
    "default": ["auto"],
    "description": "`name` or `name:scale`, repeatable; how many and how strong, GET "
    "/v1/capabilities says; `none`: the base alone; "
    "`auto`: chosen by the damage seen in the picture.",
    "examples": [["face_restore:0.8"]],
}
_IMAGE_ID = {"type": "string", "description": "Id of an earlier upload, instead of `image`."}

_WORDS = {
    "strength": "How much the picture may change; default: the LoRA's own, else 0.4.",
    "steps": "Denoising steps; max(1, min(int(steps * strength), steps)) of them are executed.",
    "guidance_scale": "How closely the prompt is followed; default: the LoRA's own, else the "
    "base's.",
    "sampler": "How steps are taken; default: the LoRA's own, else dpmpp_2m. once: the picture is "
    "read off one prediction without noise, for models that were made for that; strength is then "
    "how much of the change is taken.",
    "timestep": "For once: the level of noise that the model is told; default: the LoRA's own, "
    "else 200.",
    "prompt": "Default: the LoRA's own. `<lora:NAME:SCALE>` in it counts as a LoRA.",
    "trigger_words": "Put the LoRAs' trigger words into the prompt where it lacks them.",
    "negative_prompt": "Default: the LoRA's own.",
    "seed": "The same seed and parameters give the same picture; default: drawn, and shown.",
    "max_side": "Longer side of the result, in pixels; default: the photo's own, enlarged.",
    "upscale": "How many times larger the result is; `auto`: 1 for a photo whose long side is "
    "1,024 or more, else the smaller of 2 and 4 that brings it there.",
    "upscaler": "Name of an enlarger from GET /v1/upscalers, `lanczos` for a plain filter, `auto`.",
    "format": "auto: as it came. JPEG and HEIC come back as JPEG, PNG and what has transparency as "
    "PNG, the rest as WebP.",
    "quality": "For jpeg and webp.",
    "metadata": "keep: the photo's date, author, copyright and resolution go into the result, its "
    "place and device never.",
    "fidelity": "What of the photo's own is kept: none, low (its tones), residual (all that the "
    "autoencoder loses), wavelet (its low frequencies), adain (every colour's mean and contrast); "
    "default: the LoRA's own.",
    "preview": "Send a small result first.",
    "priority": "Interactive jobs go before batch ones.",
    "webhook_url": "An https:// address outside that is told when the job ends, signed as Standard "
    "Webhooks has it.",
    "webhook_events": "Which ends it is told of: repeated, or with commas.",
    "embed_metadata": "Write the parameters into the file.",
    "deterministic": "Share no step with other jobs, so that a repeat has equal pixels whatever "
    "else the same worker does; slower where it is busy.",
    "force": "Go on where the input would be refused for its quality.",
}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _params() -> dict[str, Any]:
    known = JobParams.model_json_schema()["properties"]
    return {name: _sendable(known[name]) | _said(name) for name in PARAM_FIELDS}


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes null, which a form cannot express: leaving the field out has that meaning."""
    given: dict[str, Any] = next(
        (kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"), {}
    )
    kept = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return kept | given


def _said(name: str) -> dict[str, str]:
    pattern = {"pattern": "^https://"} if name == "webhook_url" else {}
    return pattern | ({"description": _WORDS[name]} if name in _WORDS else {})


JOB_FORM = _form({"image": _FILE, "image_id": _IMAGE_ID, "lora": _LORA, **_params()}, [])
JOB_FORM["content"]["multipart/form-data"]["schema"]["oneOf"] = [
    {"required": ["image"]},
    {"required": ["image_id"]},
]
IMAGE_FORM = _form({"image": _FILE}, ["image"])
_PNG = {"format": {**_params()["format"], "default": "png"}}
ENHANCE_FORM = _form(
    {"image": _FILE, "lora": {**_LORA, "default": ["face_restore"]}, **_params(), **_PNG}, ["image"]
)
