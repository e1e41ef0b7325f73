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
    "description": "`name` or `name:scale`, repeatable, within the limits of GET "
    "/v1/capabilities; `none`: the base alone; `auto`: chosen by the measured damage.",
    "examples": [["face_restore:0.8"]],
}
_MASK = {
    "type": "string",
    "format": "binary",
    "description": "A picture of any size, scaled to the photo's: the result replaces the photo "
    "where it is white, with a feathered edge; where it is black the photo stays as it is. Of a "
    "mask with transparent parts, the painted parts count as white.",
}
_IMAGE_URL = {
    "type": "string",
    "pattern": "^https://",
    "description": "A public https:// address at which the picture is fetched, instead of `image`; "
    "off unless the deployment allows it.",
}
_IMAGE_ID = {"type": "string", "description": "Id of an earlier upload, instead of `image`."}

_WORDS = {
    "strength": "How much the picture may change; default: the LoRA's own, else 0.4.",
    "steps": "Denoising steps; max(1, min(int(steps * strength), steps)) of them are executed.",
    "guidance_scale": "How closely the prompt is followed; default: the LoRA's own, else the "
    "base's.",
    "sampler": "The sampler; default: the LoRA's own, else dpmpp_2m. once: one prediction without "
    "noise, for models made for that; strength is then the share of the change that is applied.",
    "timestep": "For the sampler once: the noise level that the model is given; default: the "
    "LoRA's own, else 200.",
    "pixel_scale": "For a LoRA with a part for fidelity and a part for detail (PiSA-SR): the first "
    "part's share of `strength`; default 1. With another LoRA it has no effect, and "
    "`degraded` says so.",
    "semantic_scale": "The same for the part for detail; default 1.",
    "prompt": "Default: the LoRA's own. `<lora:NAME:SCALE>` in it counts as a LoRA.",
    "trigger_words": "Add the LoRAs' trigger words to the prompt if they are missing.",
    "negative_prompt": "Default: the LoRA's own.",
    "seed": "The same seed and parameters give the same picture; default: random.",
    "base": "A base that GET /v1/capabilities lists: its id, its checkpoint's name or its family. "
    "Default: a base for which the LoRAs were made, the deployment's own first.",
    "max_side": "Longer side of the result, in pixels; default: the photo's own, enlarged.",
    "upscale": "Factor of enlargement; `auto`: 1 for a photo whose long side is 1,024 or more, "
    "otherwise 2 or 4, the smallest that reaches 1,024, as far as the limits allow.",
    "upscaler": "Name of an enlarger from GET /v1/upscalers, `lanczos` for a plain filter, `auto`.",
    "format": "auto: by the photo's format. JPEG and HEIC give JPEG, PNG and pictures with "
    "transparency give PNG, others WebP. If a format cannot hold the longer side (WebP 16,383 "
    "pixels, JPEG 65,500), the result has another one, and `degraded` says so.",
    "quality": "For jpeg and webp.",
    "metadata": "keep: the photo's date, author, copyright and resolution are copied to the "
    "result; its place and device never are.",
    "fidelity": "How much of the photo's own detail is kept: none, low (its tones), residual (all "
    "that the autoencoder loses), wavelet (its low frequencies), adain (every colour's mean and "
    "contrast); default: the LoRA's own.",
    "pyramid": "At how many sizes the photo is treated, each twice the last: 2 and 3 begin at half "
    "and a quarter, where coarse noise is fine and heavy blur is little; default: as `auto` "
    "chooses, else 1.",
    "preview": "Send a small result first, as a preview.",
    "priority": "Interactive jobs go before batch ones.",
    "result_url": "A public https:// address, such as a presigned one, to which the finished "
    "picture is sent by PUT, repeated like a webhook; `webhook` shows the outcome.",
    "webhook_url": "A public https:// address that gets a message when the job ends, signed as "
    "Standard Webhooks defines it.",
    "webhook_events": "Which ends it is sent for: repeated, or separated by commas.",
    "embed_metadata": "Write the parameters into the file.",
    "deterministic": "Share no step with other jobs, so that a repeated job gives equal pixels "
    "whatever else the same worker does; slower on a busy worker.",
    "force": "Continue even if the input's quality would be refused.",
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
    pattern = {"pattern": "^https://"} if name in ("webhook_url", "result_url") else {}
    return pattern | ({"description": _WORDS[name]} if name in _WORDS else {})


JOB_FORM = _form(
    {
        "image": _FILE,
        "image_id": _IMAGE_ID,
        "image_url": _IMAGE_URL,
        "mask": _MASK,
        "lora": _LORA,
        **_params(),
    },
    [],
)
JOB_FORM["content"]["multipart/form-data"]["schema"]["oneOf"] = [
    {"required": ["image"]},
    {"required": ["image_id"]},
    {"required": ["image_url"]},
]
IMAGE_FORM = _form({"image": _FILE}, ["image"])
_PNG = {"format": {**_params()["format"], "default": "png"}}
ENHANCE_FORM = _form(
    {
        "image": _FILE,
        "mask": _MASK,
        "lora": {**_LORA, "default": ["face_restore"]},
        **_params(),
        **_PNG,
    },
    ["image"],
)
