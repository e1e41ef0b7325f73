"""Errors in the format of OpenAI: `{"error": {message, type, param, code}}`.

Owns the statuses that differ from ours, and the header that tells clients whether a retry makes
sense. Messages and codes are those of every other route.
"""

import json
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from api.faces.dialect import DialectRoute
from api.wire.errors import InvalidFields, language_of, refusal
from api.wire.presenter import error_view
from api.wire.problems import RETRY_AFTER, STATUS
from shared.errors import ERRORS, NotFound, RetouchError
from shared.jobs import Failure

# OpenAI answers every invalid request with 400.
_STATUS = {415: 400, 422: 400}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ModelNotFound(NotFound):
    """Raised when `model` names no model of this service."""


class OpenAIRoute(DialectRoute):
    """A route whose errors are in this API's format."""

    @staticmethod
    def refused(request: Request, error: RetouchError) -> Response:
        return error_response(request, error)


def error_response(request: Request, error: RetouchError) -> JSONResponse:
    """The answer to a request that ended in this error."""
    ours = refusal(request, error)
    param, code = None, error.code
    if isinstance(error, InvalidFields) and error.problems:
        param = error.problems[0].pointer.lstrip("/").partition("/")[0]
    if isinstance(error, ModelNotFound):
        param, code = "model", "model_not_found"
    body = error_body(_message(ours), ours.status_code, param, code)
    answer = JSONResponse(body, _STATUS.get(ours.status_code, ours.status_code))
    for name in ("Retry-After", "WWW-Authenticate", "Content-Language", "Cache-Control"):
        if name in ours.headers:
            answer.headers[name] = ours.headers[name]
    _advise_retry(answer, error.retryable)
    return answer


def failure_response(request: Request, failure: Failure) -> JSONResponse:
    """The answer to a request whose job failed."""
    status = STATUS.get(failure.code, 500)
    answer = JSONResponse(failure_body(request, failure), _STATUS.get(status, status))
    if failure.code in RETRY_AFTER:
        answer.headers["Retry-After"] = str(RETRY_AFTER[failure.code])
    _advise_retry(answer, failure.retryable)
    return answer


def failure_body(request: Request, failure: Failure) -> dict[str, Any]:
    """A failed job's error, also used in streams."""
    view = error_view(failure, language_of(request))
    message = f"{view.message} {view.advice}"
    code = failure.code if failure.code in ERRORS else "internal_error"
    return error_body(message, STATUS.get(failure.code, 500), None, code)


def error_body(message: str, status: int, param: str | None, code: str) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _message(ours: JSONResponse) -> str:
    problem = json.loads(bytes(ours.body))
    return f"{problem['detail']} {problem['advice']}"


def _advise_retry(answer: JSONResponse, is_worth_it: bool) -> None:
    answer.headers["x-should-retry"] = "true" if is_worth_it else "false"
