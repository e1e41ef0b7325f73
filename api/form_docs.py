"""The multipart forms as OpenAPI shows them, made from the models that check them.

Owns nothing but documentation: FastAPI does not parse these forms, so it cannot describe them.
"""

from typing import Any

from api.job_form import PARAM_FIELDS
from shared.params import MAX_LORAS, JobParams

_FILE = {
    "type": "string",
    "format": "binary",
    "description": "PNG, JPEG or WebP; 20 MiB and 40 megapixels by default.",
}
_LORA = {
    "type": "array",
    "items": {"type": "string"},
    "maxItems": MAX_LORAS,
    "default": ["auto"],
    "description": "`name` or `name:scale` (-2..2), repeatable; `none`: the base alone; "
    "`auto`: chosen by the damage seen in the picture.",
    "examples": [["face_restore:0.8"]],
}
_IMAGE_ID = {"type": "string", "description": "Id of an earlier upload, instead of `image`."}


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
    return {name: known[name] for name in PARAM_FIELDS}


JOB_FORM = _form({"image": _FILE, "image_id": _IMAGE_ID, "lora": _LORA, **_params()}, [])
IMAGE_FORM = _form({"image": _FILE}, ["image"])
ENHANCE_FORM = _form(
    {"image": _FILE, "lora": {**_LORA, "default": ["face_restore"]}, **_params()}, ["image"]
)
