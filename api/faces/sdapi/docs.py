"""AUTOMATIC1111's routes in our OpenAPI document: bodies, answers, errors.

Owns documentation only, generated from the models that check the bodies.
"""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

_TEXT = {"type": "string"}
_ERROR = {
    "type": "object",
    "required": ["error", "detail"],
    "properties": {
        "error": _TEXT,
        "detail": {"description": "A sentence, or a list where fields cannot be used."},
        "body": _TEXT,
        "errors": _TEXT,
    },
}


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """A request body of this model, with all definitions in one place."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    return {
        "required": True,
        "content": {"application/json": {"schema": _inlined(schema, parts)}},
    }


def answer(description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """A 200 whose body has these properties."""
    schema = {"type": "object", "properties": properties}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route in this API's format."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": _ERROR}},
        }
        for status in statuses
    }


def _inlined(node: Any, parts: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(parts[node["$ref"].rpartition("/")[2]], parts)
    return {key: _inlined(value, parts) for key, value in node.items()}


IMAGES = answer(
    "The pictures in base64, the request again, and `info`: JSON as a text",
    images={"type": "array", "items": _TEXT},
    parameters={"type": "object"},
    info=_TEXT,
)
EXTRA = answer("The picture in base64", image=_TEXT, html_info=_TEXT)
EXTRAS = answer("The pictures in base64", images={"type": "array", "items": _TEXT}, html_info=_TEXT)
PROGRESS = answer(
    "Progress of the caller's own request",
    progress={"type": "number"},
    eta_relative={"type": "number"},
    state={"type": "object"},
    current_image={"type": ["string", "null"]},
    textinfo={"type": ["string", "null"]},
)
