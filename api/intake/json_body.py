"""A JSON body that is read under limits, checked by its model, and described in OpenAPI.

FastAPI would read a body of any length before it identifies the sender.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.wire.errors import InvalidFields
from api.wire.wording import field_problems
from shared.messages import Language

Body = TypeVar("Body", bound=BaseModel)

JSON_PROBLEMS = ("malformed_request", "payload_too_large", "unsupported_media_type")


def checked_json(model: type[Body], text: bytes, language: Language) -> Body:
    """Reads and checks the body. Raises InvalidFields."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InvalidFields(field_problems(error.errors(), language)) from error


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The body in OpenAPI; the model must be among the document's schemas."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}
