"""Reads the service's answers: JSON, records, pictures, and errors as exceptions.

Owns the recognition of answers that are not from retouch (a proxy's page with status 200).
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from retouch.problems import Damaged, RetouchProblem, ServerError, UnexpectedAnswer

Record = TypeVar("Record", bound=BaseModel)
PROXY_LIMIT = (
    "A proxy before the service takes no files of this size. Send a smaller one, or have its limit "
    "raised (nginx: client_max_body_size)."
)
SHA256 = re.compile("[0-9a-f]{64}")


def read_json(response: httpx2.Response) -> Any:
    """The answer's JSON. Raises UnexpectedAnswer."""
    try:
        return response.json()
    except ValueError as error:
        raise _unexpected(response) from error


def read_record(response: httpx2.Response, kind: type[Record]) -> Record:
    """The answer as a record. Raises UnexpectedAnswer."""
    return _checked(response, kind, read_json(response))


def read_items(response: httpx2.Response, kind: type[Record]) -> list[Record]:
    """The `items` of the answer as records. Raises UnexpectedAnswer."""
    body = read_json(response)
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise _unexpected(response)
    return [_checked(response, kind, item) for item in items]


def read_picture(response: httpx2.Response) -> bytes:
    """The answer's picture, verified with the checksum in its `ETag`.

    Raises Damaged, UnexpectedAnswer.
    """
    kind = _media_type(response)
    if kind and not kind.startswith(("image/", "application/octet-stream")):
        raise _unexpected(response)
    expected = response.headers.get("ETag", "").strip('"')
    if SHA256.fullmatch(expected) and expected != sha256(response.content).hexdigest():
        raise Damaged
    return response.content


def require_event_stream(response: httpx2.Response) -> None:
    """Raises UnexpectedAnswer if the answer is not an event stream."""
    if _media_type(response) != "text/event-stream":
        raise _unexpected(response)


def problem_from_response(response: httpx2.Response) -> RetouchProblem:
    """The problem that an error answer describes; chosen by its status if it is not
    problem+json.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "code" in body:
        return _problem(body, response.status_code, response.headers.get("Retry-After"))
    return _unexplained(response)


def problem_from_error(error: Mapping[str, Any]) -> RetouchProblem:
    """The problem that a failed job's `error` describes."""
    return _problem(error, 0, None)


def _problem(body: Mapping[str, Any], status: int, retry_after: str | None) -> RetouchProblem:
    code = str(body["code"])
    detail = body.get("detail") or body.get("message") or body.get("title") or code
    kind = RetouchProblem.of_code.get(code) or _of_status(status)
    return kind(
        code,
        _with_fields(str(detail), body.get("errors")),
        advice=str(body.get("advice") or ""),
        status=status,
        retryable=bool(body.get("retryable", False)),
        retry_after=retry_after,
    )


def _of_status(status: int) -> type[RetouchProblem]:
    """The class of a status; if it has none, the class of its hundred."""
    other = ServerError if status >= 500 else RetouchProblem
    return RetouchProblem.of_status.get(status, other)


def _with_fields(detail: str, errors: object) -> str:
    """The detail with the invalid fields of a 422, if it does not name them yet."""
    if not isinstance(errors, list):
        return detail
    named = [
        f"{str(item.get('pointer', '')).strip('#/')}: {item.get('detail', '')}"
        for item in errors
        if isinstance(item, dict) and str(item.get("detail", "")) not in detail
    ]
    return " ".join([detail, *(f"({line})" for line in named)])


def _unexplained(response: httpx2.Response) -> RetouchProblem:
    plain = UnexpectedAnswer(_address(response), response.status_code, "without an explanation")
    kind = _of_status(response.status_code)
    if kind is RetouchProblem:
        return plain
    return kind(
        plain.code,
        plain.detail,
        advice=PROXY_LIMIT if response.status_code == 413 else plain.advice,
        status=response.status_code,
        retryable=response.status_code >= 500 or response.status_code == 429,
        retry_after=response.headers.get("Retry-After"),
    )


def _checked(response: httpx2.Response, kind: type[Record], value: Any) -> Record:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _unexpected(response) from error


def _unexpected(response: httpx2.Response) -> UnexpectedAnswer:
    what = f"with {_media_type(response) or 'something'} that is not an answer of retouch"
    return UnexpectedAnswer(_address(response), response.status_code, what)


def _media_type(response: httpx2.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _address(response: httpx2.Response) -> str:
    return str(response.request.url)
