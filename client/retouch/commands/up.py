"""`retouch up`: the whole service on this machine, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from retouch.server_packages import server_packages


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
    """Start the store, workers and gateway on this machine; Ctrl-C stops all of them."""
    with server_packages("`retouch up`"):
        from retouch.stack.foreground import run_until_interrupted
    run_until_interrupted(port=port, host=host, workers=workers, data_dir=data_dir, flower=flower)
