"""Python client and command line of retouch. Speaks HTTP only."""

from client.client import Client
from client.problems import RetouchProblem, Unreachable
from client.records import Event, Job, Lora, Progress, Worker

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
