"""A plain Celery application with the settings that Celery's documentation recommends for tasks
that must not be lost on Redis: late acknowledgement, rejection when a worker is lost, no prefetch,
and a small visibility timeout, checked more often than Kombu 5.7 does by default.

Each start, step and end of a task is a line in the file that PLAIN_CELERY_HISTORY names.
"""

import json
import os
import signal
import time
from pathlib import Path

from celery import Celery

VISIBILITY_SECONDS = 10

app = Celery("plain", broker=os.environ["PLAIN_CELERY_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=2,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 5,
    },
)


def note(what: str, job: int) -> None:
    """Appends one whole line."""
    line = {"t": time.monotonic(), "pid": os.getpid(), "what": what, "job": job}
    path = os.environ["PLAIN_CELERY_HISTORY"]
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (json.dumps(line) + "\n").encode())
    finally:
        os.close(descriptor)


@app.task(name="plain.run")
def run(job: int, steps: int, step_seconds: float, fault: str = "") -> None:
    """Runs as many steps as a job of the fake engine, with a fault at the second one: `poison`
    kills its process every time, `process` once, `worker` its whole worker once.
    """
    note("start", job)
    for step in range(steps):
        if step == 1 and (fault == "poison" or (fault and first_time(job))):
            os.kill(0 if fault == "worker" else os.getpid(), signal.SIGKILL)
        time.sleep(step_seconds)
    note("done", job)


def first_time(job: int) -> bool:
    """Whether this job's fault has not happened yet."""
    try:
        Path(f"{os.environ['PLAIN_CELERY_HISTORY']}.{job}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
