"""The OpenAPI 3.1 document: what FastAPI generates from the routes, completed.

Owns security schemes, the problem schema and the description of what OpenAPI has no routes for.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.wire.preview_body import PreviewBody
from api.wire.problems import Problem
from api.wire.schemas import ReportForm
from shared.params import ALL_EVENTS

DESCRIPTION = """\
Send a photo, follow the job's true percentage, fetch the better picture.

`POST /v1/jobs` answers at once with a job. Follow it by `GET /v1/jobs/{id}/events` (server-sent
events, resumed with `Last-Event-ID`), by the WebSocket `/v1/jobs/{id}/socket` (the same events as
JSON text frames `{id, kind, data}`, each preview also as a binary frame) or by polling
`GET /v1/jobs/{id}` with `If-None-Match`. Every error is `application/problem+json` with a code, a
message and advice, in English or Chinese by `Accept-Language`.
"""
TAGS = [
    {"name": "jobs", "description": "Submit, show, list, cancel."},
    {"name": "events", "description": "Follow a job while it runs."},
    {"name": "pictures", "description": "Uploads, previews, results."},
    {"name": "loras", "description": "LoRAs that a job can apply."},
    {"name": "upscalers", "description": "Networks that enlarge a result."},
    {"name": "fleet", "description": "Facts about this deployment and its state."},
]
SIGNED_HEADERS = {
    "webhook-id": "The same for every attempt to send one message.",
    "webhook-timestamp": "Seconds since 1970; refuse messages older than five minutes.",
    "webhook-signature": "Space-separated `v1,` and base64 of an HMAC-SHA256 over "
    "`{webhook-id}.{webhook-timestamp}.{body}`.",
}
WEBHOOK = {
    "operationId": "jobEnded",
    "summary": "Sent to a job's webhook_url when it ends",
    "description": "Signed as Standard Webhooks defines it. A 2xx answer confirms it; otherwise it "
    "is sent again, nine times within a day; 410 ends that. Redirects are not followed.",
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": meaning,
        }
        for name, meaning in SIGNED_HEADERS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "timestamp", "data"],
                    "properties": {
                        "type": {"enum": list(ALL_EVENTS)},
                        "timestamp": {"type": "string", "format": "date-time"},
                        "data": {"$ref": "#/components/schemas/JobView"},
                    },
                }
            }
        },
    },
    "responses": {"2XX": {"description": "Taken"}, "410": {"description": "Send no more"}},
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
OPEN_PATHS = {"/healthz", "/readyz"}


def install_openapi(
    app: FastAPI, public_urls: Sequence[str], more_paths: Mapping[str, Any]
) -> None:
    """Makes `/openapi.json` serve the completed document. `more_paths` are those of other
    applications at this address.
    """

    def completed() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = _generated(app, public_urls)
            document["paths"] |= deepcopy(more_paths)
            app.openapi_schema = _complete(document)
        return app.openapi_schema

    app.openapi = completed  # type: ignore[method-assign]


def _generated(app: FastAPI, public_urls: Sequence[str]) -> dict[str, Any]:
    return get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": url} for url in public_urls] or None,
    )


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _add_model(schemas, Problem)
    _add_model(schemas, PreviewBody)
    _add_model(schemas, ReportForm)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["securitySchemes"] = SECURITY_SCHEMES
    document["webhooks"] = {"jobEnded": {"post": WEBHOOK}}
    document["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            _mend_validation(operation)
            if path in OPEN_PATHS:
                operation["security"] = []
    return document


def _add_model(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def _mend_validation(operation: dict[str, Any]) -> None:
    """FastAPI documents its own format of 422 wherever a parameter exists; ours is different."""
    refusal = operation["responses"].get("422")
    if refusal and "application/json" in refusal.get("content", {}):
        reference = {"schema": {"$ref": "#/components/schemas/Problem"}}
        refusal["description"] = "Unprocessable: `validation_error`"
        refusal["content"] = {"application/problem+json": reference}
