"""The format of errors: `application/problem+json` (RFC 9457) with advice.

Owns the body's schema, the status of every code and the waits. The messages come from the shared
catalogue.
"""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from api.wire.addresses import address
from shared.errors import ERRORS
from shared.messages import Language, advice, title

MEDIA_TYPE = "application/problem+json"

STATUS: dict[str, int] = {
    "malformed_multipart": 400,
    "malformed_request": 400,
    "lora_base_mismatch": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "job_not_found": 404,
    "lora_not_found": 404,
    "upscaler_not_found": 404,
    "image_not_found": 404,
    "method_not_allowed": 405,
    "not_finished": 409,
    "already_finished": 409,
    "superseded": 409,
    "idempotency_in_flight": 409,
    "lora_changed": 409,
    "upscaler_changed": 409,
    "result_expired": 410,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "animated_image": 415,
    "validation_error": 422,
    "invalid_image": 422,
    "image_truncated": 422,
    "image_too_large": 422,
    "image_too_small": 422,
    "image_too_blurry": 422,
    "image_too_dark": 422,
    "image_blank": 422,
    "lora_quarantined": 422,
    "lora_corrupt": 422,
    "upscaler_unusable": 422,
    "upscaler_corrupt": 422,
    "idempotency_key_reuse": 422,
    "unsafe_input": 422,
    "unsafe_output": 422,
    "watermark_in_output": 422,
    "rate_limited": 429,
    "crashed_too_often": 500,
    "internal_error": 500,
    "overloaded": 503,
    "queue_full": 503,
    "storage_full": 503,
    "store_unavailable": 503,
    "no_worker": 503,
    "out_of_memory": 503,
    "step_timeout": 503,
}

# Seconds after which the same request may be retried.
RETRY_AFTER: dict[str, int] = {
    "not_finished": 1,
    "idempotency_in_flight": 1,
    "rate_limited": 1,
    "overloaded": 2,
    "queue_full": 5,
    "storage_full": 60,
    "store_unavailable": 2,
    "no_worker": 5,
    "out_of_memory": 5,
    "step_timeout": 5,
    "lora_changed": 1,
}


class FieldProblem(BaseModel):
    """One invalid field of a request; `pointer` is a JSON pointer (RFC 6901)."""

    model_config = ConfigDict(frozen=True)

    pointer: str = Field(examples=["/strength"])
    detail: str = Field(examples=["must be at most 1"])


class Problem(BaseModel):
    """An error. Only 422 has `errors`; only an unready service has `checks` and `unserved`."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["/problems/job_not_found"])
    title: str = Field(examples=["There is no such job."])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no such job."])
    advice: str = Field(examples=["Check the id. Jobs are deleted some days after they finish."])
    code: str = Field(examples=["job_not_found"])
    retryable: bool = Field(examples=[False])
    instance: str = Field(examples=["/v1/jobs/0123456789abcdef0123456789abcdef"])
    errors: list[FieldProblem] | None = None
    checks: dict[str, str] | None = None
    unserved: dict[str, int] | None = None


def problem_response(
    request: HTTPConnection,
    code: str,
    language: Language,
    detail: str | None = None,
    *,
    retry_after: int | None = None,
    errors: list[FieldProblem] | None = None,
    checks: dict[str, str] | None = None,
    unserved: dict[str, int] | None = None,
) -> JSONResponse:
    """The answer for one refused request."""
    facts = plain_problem(code, language, request.url.path)
    facts |= {"detail": detail} if detail else {}
    problem = Problem(**facts, errors=errors, checks=checks, unserved=unserved)
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=_headers(code, language, retry_after),
    )


def plain_problem(code: str, language: Language = "en", instance: str = "/") -> dict[str, Any]:
    """An error's body that contains only the code's own messages."""
    return {
        "type": address(f"/problems/{code}"),
        "title": title(code, language),
        "status": STATUS[code],
        "detail": title(code, language),
        "advice": advice(code, language),
        "code": code,
        "retryable": ERRORS[code].retryable,
        "instance": instance,
    }


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route with these errors."""
    by_status: dict[int | str, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], []).append(code)
    return {status: _documented(int(status), names) for status, names in by_status.items()}


def _headers(code: str, language: Language, retry_after: int | None) -> dict[str, str]:
    headers = {"Content-Language": language, "Cache-Control": "no-store"}
    wait = retry_after if retry_after is not None else RETRY_AFTER.get(code)
    if wait is not None:
        headers["Retry-After"] = str(wait)
    if code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="retouch"'
    return headers


def _documented(status: int, codes: list[str]) -> dict[str, Any]:
    examples = {
        code: {"summary": title(code), "value": plain_problem(code, instance="/v1/jobs")}
        for code in codes
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    answer: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if any(code in RETRY_AFTER for code in codes):
        answer["headers"] = {
            "Retry-After": {
                "description": "Seconds after which a retry makes sense.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return answer
