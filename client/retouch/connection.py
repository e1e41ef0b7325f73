"""Requests to one service, retried if that is safe and may help.

Owns which requests are retried. Knows nothing of jobs.
"""

from dataclasses import dataclass
from typing import Any

import httpx2

from retouch.answers import problem_from_response
from retouch.patience import Deadline, Patience
from retouch.problems import RetouchProblem, Unreachable
from retouch.transport import Transport

# "Too many requests", "unavailable", and a proxy's errors while the gateway behind it restarts.
WORTH_ANOTHER_TRY = (429, 502, 503, 504)
# `Prefer: wait` may delay an answer by 50 s.
ANSWER_SECONDS = 75.0


@dataclass(frozen=True)
class Connection:
    """One service: its address, the transport, and how long to retry."""

    transport: Transport
    url: str
    patience_seconds: float

    def patience(self, deadline: Deadline) -> Patience:
        """A fresh series of attempts."""
        return Patience(self.patience_seconds, deadline)

    async def request(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline | None = None,
        seconds: float = ANSWER_SECONDS,
        **arguments: Any,
    ) -> httpx2.Response:
        """The answer, if it is not an error.

        Every request sent through here may be sent twice without harm: reads, cancels, and
        submissions with an idempotency key. Raises RetouchProblem.
        """
        deadline = deadline or Deadline()
        patience = self.patience(deadline)
        while True:
            seconds = min(seconds, deadline.left)
            try:
                response = await self.transport.send(method, path, seconds, **arguments)
            except httpx2.TransportError as error:
                problem: RetouchProblem = Unreachable(self.url, cause_of(error))
            else:
                if response.is_success:
                    return response
                problem = problem_from_response(response)
            await self._pause(patience, problem)

    async def _pause(self, patience: Patience, problem: RetouchProblem) -> None:
        """Sleeps until the next attempt. Raises the problem if there is none."""
        pause = patience.pause(problem.retry_after) if is_passing(problem) else None
        if pause is None:
            raise problem
        await self.transport.sleep(pause)


def is_passing(problem: RetouchProblem) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(problem, Unreachable) or problem.code == "idempotency_in_flight":
        return True
    return problem.status in WORTH_ANOTHER_TRY


def cause_of(error: httpx2.TransportError) -> str:
    return str(error) or type(error).__name__
