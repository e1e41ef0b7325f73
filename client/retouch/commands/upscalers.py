"""`retouch upscalers`: which enlargers the service has."""

from typing import Annotated

import typer
from rich.table import Table

from retouch.console import out, print_json
from retouch.interrupts import Interrupts
from retouch.records import Upscaler
from retouch.service import service

app = typer.Typer(no_args_is_help=True, help="List enlargers.")

COLOURS = {"available": "green", "quarantined": "red", "incompatible": "yellow"}


@app.callback()
def upscalers() -> None:
    """List enlargers."""


@app.command("list")
def list_upscalers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the enlargers of the server at RETOUCH_URL, or of the folder RETOUCH_UPSCALERS_DIR."""
    with Interrupts() as interrupts, service(interrupts, workers=0) as client:
        items = client.upscalers()
    if as_json:
        print_json([item.model_dump() for item in items])
    elif items:
        out.print(_table(items))
    else:
        out.print("No enlargers: pictures are enlarged by the Lanczos filter.")


def _table(items: list[Upscaler]) -> Table:
    table = Table("Name", "Title", "Kind", "Factors", "State", "Licence", "Reason", box=None)
    for item in items:
        state = f"[{COLOURS.get(item.state, 'white')}]{item.state}[/]"
        factors = ", ".join(map(str, item.factors))
        row = (item.name, item.title or "", item.kind, factors, state, item.licence or "")
        table.add_row(*row, item.reason or "")
    return table
