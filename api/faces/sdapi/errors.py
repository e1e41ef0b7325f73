"""Errors in the format of AUTOMATIC1111: `{"error", "detail", "body", "errors"}`, with a list in
`detail` if fields of the body are invalid.
"""

import json
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from api.faces.dialect import DialectRoute
from api.wire.errors import InvalidFields, language_of, problem_of_failure, refusal
from shared.errors import RetouchError
from shared.jobs import Failure

KEPT_HEADERS = ("Retry-After", "Content-Language", "Cache-Control")


class SdapiRoute(DialectRoute):
    """A route whose errors are in this API's format."""

    @staticmethod
    def refused(request: Request, error: RetouchError) -> Response:
        return error_response(request, error)


def error_response(request: Request, error: RetouchError) -> JSONResponse:
    """The answer to a request that ended in this error."""
    answer = _translated(refusal(request, error))
    if isinstance(error, InvalidFields):
        body = json.loads(bytes(answer.body)) | {
            "detail": [_listed(item) for item in error.problems]
        }
        return JSONResponse(body, answer.status_code, _kept(answer))
    if error.code == "unauthenticated":
        answer.headers["WWW-Authenticate"] = "Basic"
    return answer


def failure_response(request: Request, failure: Failure) -> JSONResponse:
    """The answer to a request whose job failed."""
    return _translated(problem_of_failure(request, failure, language_of(request)))


def _translated(ours: JSONResponse) -> JSONResponse:
    problem = json.loads(bytes(ours.body))
    said = f"{problem['detail']} {problem['advice']}"
    body = {"error": problem["code"], "detail": said, "body": "", "errors": said}
    return JSONResponse(body, ours.status_code, _kept(ours))


def _kept(answer: JSONResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}


def _listed(problem: Any) -> dict[str, Any]:
    place = problem.pointer.lstrip("/").split("/")
    return {"loc": ["body", *place], "msg": problem.detail, "type": "value_error"}
