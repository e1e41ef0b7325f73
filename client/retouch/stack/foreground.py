"""The stack in a terminal: start, ready message, and end by Ctrl-C.

Owns the messages of `retouch up`.
"""

import time
from pathlib import Path

from retouch.address import reachable_url
from retouch.console import out, progress_line, say
from retouch.interrupts import Interrupts
from retouch.stack.plan import StackPlan
from retouch.stack.ports import free_port
from retouch.stack.refused_pages import RefusedPages
from retouch.stack.stack import Stack
from shared.settings import load_settings

LOOK_SECONDS = 0.1


def run_until_interrupted(
    *, port: int | None, host: str | None, workers: int, data_dir: Path | None, flower: bool
) -> None:
    """Runs everything on this machine; for options that are None the settings apply."""
    settings = load_settings()
    plan = StackPlan(
        settings,
        data_dir=(data_dir or settings.data_dir).expanduser().resolve(),
        host=settings.host if host is None else host,
        port=(settings.port if port is None else port) or free_port(),
        workers=workers,
        flower=flower,
        external_store=settings.redis_url if "redis_url" in settings.model_fields_set else None,
    )
    with Interrupts() as interrupts:
        _run(plan, interrupts)


def _run(plan: StackPlan, interrupts: Interrupts) -> None:
    stack = Stack(plan, interrupts, say)
    try:
        with progress_line() as tell:
            stack.start(tell)
        _greet(plan, stack)
        pages = RefusedPages(plan.log("gateway"))
        while not interrupts.requested:
            time.sleep(LOOK_SECONDS)
            for message in pages.fresh():
                say(message)
    finally:
        if interrupts.requested:
            say(
                "Stopping: running jobs are finished or returned to the queue. "
                "Press Ctrl-C again to stop at once."
            )
        stack.stop()


def _greet(plan: StackPlan, stack: Stack) -> None:
    out.print(f"retouch is ready at {stack.url}/  (Ctrl-C stops it)", markup=False)
    if stack.flower_auth:
        address = reachable_url(plan.settings.flower_host, plan.settings.flower_port)
        out.print(f"Flower is at {address}/  (login {stack.flower_auth})", markup=False)
    out.print(f"Logs are in {plan.data_dir / 'logs'}", markup=False)
    out.file.flush()
