"""The one place where failures become HTTP: every error is sent as `application/problem+json`.

Owns the handlers. Starlette's own errors (unknown path, wrong method) and FastAPI's validation
errors pass through here too, so that callers see one format.
"""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match, Route

from api.wire.presenter import error_view
from api.wire.problems import STATUS, FieldProblem, problem_response
from api.wire.sentence import spoken
from api.wire.wording import field_problems
from shared.errors import RetouchError, ValidationFailed
from shared.jobs import Failure
from shared.messages import Language, choose_language

# Errors that Starlette itself raises, by status; any other one is a fault of ours.
_STARLETTE = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    415: "unsupported_media_type",
}

# The message must not reveal whether a job is unknown or another caller's.
_WORDLESS = {"job_not_found"}

logger = structlog.get_logger(__name__)


class InvalidFields(ValidationFailed):
    """Raised when fields of a request are invalid; `problems` says which and why.

    It never leaves the gateway, so it may carry more than its message.
    """

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("fields of the request cannot be used")
        self.problems = problems


def language_of(connection: HTTPConnection) -> Language:
    """The caller's language by `Accept-Language`."""
    return choose_language(connection.headers.get("accept-language"))


def install_error_handlers(app: FastAPI) -> None:
    """Registers handlers that turn every error of this application into a problem."""
    app.add_exception_handler(RetouchError, _ours)
    app.add_exception_handler(HTTPException, _starlettes)
    app.add_exception_handler(RequestValidationError, _fastapis)


def refusal(request: HTTPConnection, error: RetouchError) -> JSONResponse:
    """The answer to a request that ended in this error."""
    language = language_of(request)
    fields = error.problems if isinstance(error, InvalidFields) else None
    if fields is not None:
        detail = _listed(fields, language)
    elif error.code in _WORDLESS:
        detail = ""
    else:
        detail = spoken(error.args[0] if error.args else "", language) or ""
    return problem_response(
        request,
        error.code,
        language,
        detail,
        retry_after=getattr(error, "wait_seconds", None),
        errors=fields,
    )


def _listed(fields: list[FieldProblem], language: Language) -> str:
    each = (f"{field.pointer.lstrip('/')} {field.detail}" for field in fields)
    return "；".join(each) + "。" if language == "zh" else "; ".join(each) + "."


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RetouchError)
    return refusal(request, error)


async def _starlettes(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _STARLETTE.get(error.status_code)
    if code is None:
        logger.error("unmapped refusal", status=error.status_code)
        code = "internal_error"
    answer = problem_response(request, code, language_of(request))
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """All methods of this address; Starlette knows those of one route only."""
    routes = [route for route in request.app.state.routes if isinstance(route, Route)]
    fitting = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in fitting for method in route.methods or ()})


async def _fastapis(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = field_problems(error.errors(), language_of(request), skip=1)
    return refusal(request, InvalidFields(fields))


def unforeseen(request: Request, error: Exception) -> JSONResponse:
    """The answer to an unexpected error; the details are only logged."""
    logger.error("unforeseen error", path=request.url.path, exc_info=error)
    return problem_response(request, "internal_error", language_of(request))


def problem_of_failure(
    request: HTTPConnection, failure: Failure, language: Language
) -> JSONResponse:
    """A failed job as the answer to the request that waited for it."""
    code = failure.code if failure.code in STATUS else "internal_error"
    return problem_response(request, code, language, error_view(failure, language).message)
