"""OpenAI's routes in our OpenAPI document: forms, answers, errors.

Owns documentation only, generated from the models that check the forms.
"""

from http import HTTPStatus
from typing import Any

from api.faces.openai.form import EditForm

_PICTURE = {"type": "string", "format": "binary"}
_WORDS = {
    "prompt": "Default: the LoRA's own.",
    "model": "`retouch` chooses a LoRA by the measured damage, `retouch/LORA` uses that one, the "
    "base's id none; GET /v1/models lists them.",
    "n": "Results of each picture, with different seeds; at most 16 in total.",
    "size": "`auto`: the picture's own, enlarged if it is small; WIDTHxHEIGHT: the largest size "
    "of the picture's shape that fits into it.",
    "quality": "low, high, xhigh and max use 5, 20, 30 and 50 steps instead of 10.",
    "output_compression": "The quality of jpeg and webp.",
    "background": "Transparency is kept if the format supports it.",
    "response_format": "url: an address that serves the picture for an hour without a key.",
    "stream": "Server-sent events image_edit.partial_image and image_edit.completed.",
    "partial_images": "How many previews with the percentage are sent before the picture.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def _form(names: set[str]) -> dict[str, Any]:
    known = EditForm.model_json_schema()["properties"]
    properties = {
        name: _plain(schema) | ({"description": _WORDS[name]} if name in _WORDS else {})
        for name, schema in known.items()
        if name in names
    }
    properties["image"] = _PICTURE
    schema = {"type": "object", "properties": properties, "required": ["image"]}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("title") == "Size":
        return {"type": "string", "default": "auto"}
    given: dict[str, Any] = next(
        (kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"), {}
    )
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    return {key: value for key, value in (kept | given).items() if value is not None}


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route in this API's format."""
    return {status: _json(_ERROR, HTTPStatus(status).phrase) for status in statuses}


EDIT_FORM = _form(set(EditForm.model_fields))
VARIATION_FORM = _form({"model", "n", "size", "response_format", "output_format"})
_IMAGE = {
    "type": "object",
    "properties": {"b64_json": {"type": "string"}, "url": {"type": "string"}},
}
IMAGES = _json(
    {
        "type": "object",
        "required": ["created", "data"],
        "properties": {
            "created": {"type": "integer"},
            "data": {"type": "array", "items": _IMAGE},
            "size": {"type": "string"},
            "output_format": {"type": "string"},
            "quality": {"type": "string"},
            "background": {"type": "string"},
            "ignored": {"type": "array", "items": {"type": "string"}},
        },
    },
    "The pictures, in order",
)
_MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
MODEL = _json(_MODEL, "The model")
MODELS = _json(
    {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": _MODEL},
        },
    },
    "The models",
)
