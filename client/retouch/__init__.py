"""Python client and command line of retouch. Talks to the service over HTTP only.

Read in this order: `client.py` (the interface), `core.py` (the operations, once for both clients),
`connection.py` and `patience.py` (retries), `transport.py`, `events.py`, `answers.py`,
`problems.py`, `records.py`. The command line is `cli.py` with a file for each command in
`commands/`.

`stack/` (all processes of a service on one machine) and `diagnosis/` (`retouch doctor`) need the
server's packages. They are part of the client, but are imported only inside the commands that use
them; `server_packages.py` says what to install if those packages are absent.
"""

from retouch.async_client import AsyncClient
from retouch.client import Client
from retouch.job_fields import JobFields
from retouch.problems import (
    JobCanceled,
    NotFound,
    RateLimited,
    RetouchProblem,
    ServerError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unprocessable,
    Unreachable,
    WaitTimeout,
)
from retouch.records import Event, Job, Lora, Progress, Upscaler, Worker
from retouch.version import __version__

__all__ = [
    "AsyncClient",
    "Client",
    "Event",
    "Job",
    "JobCanceled",
    "JobFields",
    "Lora",
    "NotFound",
    "Progress",
    "RateLimited",
    "RetouchProblem",
    "ServerError",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unprocessable",
    "Unreachable",
    "Upscaler",
    "WaitTimeout",
    "Worker",
    "__version__",
]
