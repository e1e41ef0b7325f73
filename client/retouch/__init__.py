"""Python client and command line of retouch. Speaks HTTP only."""

from retouch.client import Client
from retouch.problems import RetouchProblem, Unreachable
from retouch.records import Event, Job, Lora, Progress, Worker

__all__ = [
    "Client",
    "Event",
    "Job",
    "Lora",
    "Progress",
    "RetouchProblem",
    "Unreachable",
    "Worker",
]
