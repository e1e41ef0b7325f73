"""What can go wrong when talking to the service, as exceptions with a code and a next step.

Owns reading `application/problem+json`. Wording comes from the service; where it could not be
reached at all, the words are here.
"""

from collections.abc import Mapping
from typing import Any

import httpx2


class RetouchProblem(Exception):
    """Raised when the service refuses a request, a job fails, or nobody answers.

    `code` is the service's own word (`lora_not_found`), `status` the HTTP status or 0 when there
    is none, `detail` what happened, `advice` what to do next, `retryable` whether the same request
    may succeed later, `retry_after` the service's own word on when.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        advice: str = "",
        status: int = 0,
        retryable: bool = False,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.advice = advice
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.detail} {self.advice}".strip()


class Unreachable(RetouchProblem):
    """Raised when no answer comes, for as long as the client is willing to try."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            "unreachable",
            f"No answer from {url} ({cause}).",
            advice="Start a server with `retouch up`, or set RETOUCH_URL to one that runs.",
            retryable=True,
        )


class Damaged(RetouchProblem):
    """Raised when the bytes of a picture are not the ones that the service vouched for."""

    def __init__(self) -> None:
        super().__init__(
            "damaged_download",
            "The picture was damaged on its way.",
            advice="Fetch it again.",
            retryable=True,
        )


def problem_from_response(response: httpx2.Response) -> RetouchProblem:
    """The problem that a refusal describes; a plain one when it is not problem+json."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "code" not in body:
        return _unexplained(response)
    return _problem(body, response.status_code, response.headers.get("Retry-After"))


def problem_from_error(error: Mapping[str, Any]) -> RetouchProblem:
    """The problem that a failed job's `error` describes."""
    return _problem(error, 0, None)


def _problem(body: Mapping[str, Any], status: int, retry_after: str | None) -> RetouchProblem:
    detail = body.get("detail") or body.get("message") or body.get("title") or body["code"]
    return RetouchProblem(
        str(body["code"]),
        _with_fields(str(detail), body.get("errors")),
        advice=str(body.get("advice") or ""),
        status=status,
        retryable=bool(body.get("retryable", False)),
        retry_after=retry_after,
    )


def _with_fields(detail: str, errors: object) -> str:
    """The detail with the fields that a 422 complains about, where it does not name them yet."""
    if not isinstance(errors, list):
        return detail
    named = [
        f"{str(item.get('pointer', '')).strip('#/')}: {item.get('detail', '')}"
        for item in errors
        if isinstance(item, dict) and str(item.get("detail", "")) not in detail
    ]
    return " ".join([detail, *(f"({line})" for line in named)])


def _unexplained(response: httpx2.Response) -> RetouchProblem:
    return RetouchProblem(
        "unexpected_answer",
        f"{response.request.url} answered {response.status_code} without an explanation.",
        advice="Is this address a retouch server? A proxy in between may be answering.",
        status=response.status_code,
        retryable=response.status_code >= 500,
        retry_after=response.headers.get("Retry-After"),
    )
