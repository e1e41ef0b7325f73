"""`retouch up`: everything on this machine, until Ctrl-C."""

import time
from pathlib import Path
from typing import Annotated

import typer

from retouch.console import out, progress_line, say
from retouch.interrupts import Interrupts
from retouch.stack.plan import StackPlan
from retouch.stack.ports import free_port, reachable_url
from retouch.stack.stack import Stack
from shared.settings import Settings, load_settings

LOOK_SECONDS = 0.1


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the gateway; 0: any free one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address that the gateway binds.")] = None,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes.")] = 1,
    data_dir: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for pictures, the store and logs.")
    ] = None,
    flower: Annotated[bool, typer.Option(help="Also start Flower, Celery's dashboard.")] = False,
) -> None:
    """Start the store, workers and gateway on this machine; Ctrl-C ends all of it."""
    settings = load_settings()
    plan = StackPlan(
        settings,
        data_dir=(data_dir or settings.data_dir).expanduser().resolve(),
        host=settings.host if host is None else host,
        port=_port(settings, port),
        workers=workers,
        flower=flower,
        external_store=settings.redis_url if "redis_url" in settings.model_fields_set else None,
    )
    with Interrupts() as interrupts:
        _run(plan, interrupts)


def _port(settings: Settings, asked: int | None) -> int:
    return (settings.port if asked is None else asked) or free_port()


def _run(plan: StackPlan, interrupts: Interrupts) -> None:
    stack = Stack(plan, interrupts, say)
    try:
        with progress_line() as tell:
            stack.start(tell)
        _greet(plan, stack)
        while not interrupts.requested:
            time.sleep(LOOK_SECONDS)
    finally:
        if interrupts.requested:
            say("Stopping: running jobs are finished or handed back. Again to hurry.")
        stack.stop()


def _greet(plan: StackPlan, stack: Stack) -> None:
    out.print(f"retouch is ready at {stack.url}/  (Ctrl-C stops it)", markup=False)
    if stack.flower_auth:
        address = reachable_url(plan.settings.flower_host, plan.settings.flower_port)
        out.print(f"Flower is at {address}/  (login {stack.flower_auth})", markup=False)
    out.print(f"Logs are in {plan.data_dir / 'logs'}", markup=False)
    out.file.flush()
