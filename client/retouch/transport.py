"""One HTTP request to the service, tried again where that is safe and promises something.

Owns connection reuse, headers, time-outs and retries. Knows nothing of jobs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from retouch.patience import Patience
from retouch.problems import RetouchProblem, Unreachable, problem_from_response

# "Too many", "not now", and what a proxy says while the gateway behind it restarts.
WORTH_ANOTHER_TRY = (429, 502, 503, 504)
NO_CONTENT = 204
# The gateway sends a comment line at least every 15 s; silence for longer is a dead connection.
SILENCE_SECONDS = 45.0
# `Prefer: wait` may hold an answer back for 50 s.
TIMEOUT = httpx2.Timeout(75.0, connect=5.0)


class StreamOver(Exception):
    """Raised when the service says that every event of a stream has been seen."""


class Transport:
    """A pool of connections to one service. Safe to use from several threads."""

    def __init__(
        self, url: str, *, api_key: str | None, language: str | None, patience_seconds: float
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not an http:// or https:// address")
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        headers = {"User-Agent": "retouch-client"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if language:
            headers["Accept-Language"] = language
        self._http = httpx2.Client(
            base_url=self.url, headers=headers, timeout=TIMEOUT, follow_redirects=False
        )

    def close(self) -> None:
        self._http.close()

    def patience(self) -> Patience:
        """A fresh series of attempts."""
        return Patience(self._patience_seconds)

    def request(self, method: str, path: str, **arguments: Any) -> httpx2.Response:
        """The answer, when it is a good one.

        Every request that comes through here may be sent twice without harm: reads, cancels, and
        submissions with an idempotency key. Raises RetouchProblem, Unreachable.
        """
        patience = self.patience()
        while True:
            try:
                response = self._http.request(method, path, **arguments)
            except httpx2.TransportError as error:
                if patience.wait():
                    continue
                raise Unreachable(self.url, _cause(error)) from error
            if response.is_success:
                return response
            problem = problem_from_response(response)
            if not (_passes(problem) and patience.wait(problem.retry_after)):
                raise problem

    @contextmanager
    def event_stream(self, path: str, last_event_id: str | None) -> Iterator[httpx2.EventSource]:
        """One connection to a stream of events.

        Raises StreamOver, RetouchProblem, httpx2.TransportError.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = httpx2.Timeout(SILENCE_SECONDS, connect=5.0)
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise problem_from_response(response)
            if response.status_code == NO_CONTENT:
                raise StreamOver
            yield httpx2.EventSource(response)


def _passes(problem: RetouchProblem) -> bool:
    return problem.status in WORTH_ANOTHER_TRY or problem.code == "idempotency_in_flight"


def _cause(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
