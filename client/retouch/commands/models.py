"""`retouch models`: lists base checkpoints on this machine, and downloads one from the hub."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from retouch.console import out, print_json, say
from retouch.server_packages import server_packages

app = typer.Typer(no_args_is_help=True, help="Base checkpoints: list them, or download one.")


@app.command("list")
def list_models(
    models: Annotated[Path, typer.Option(help="Folder of checkpoints.")] = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every checkpoint in the models folder and in the hub's cache."""
    with server_packages("`retouch models`"):
        from shared.checkpoints.inventory import inventory

    held = inventory(models)
    if as_json:
        print_json([asdict(each) for each in held])
        return
    if not held:
        say("No checkpoint here. `retouch models pull OWNER/NAME` downloads one (docs/bases.md).")
        return
    table = Table("RETOUCH_BASE_MODEL", "family", "MiB", "can be served", box=None)
    for each in held:
        size = f"{each.size_bytes / 2**20:.0f}"
        table.add_row(each.name, each.family, size, each.complaint or "yes")
    out.print(table)


@app.command("pull")
def pull_model(
    hub_id: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = "fp16",
) -> None:
    """Download a checkpoint; resumes an interrupted download."""
    with server_packages("`retouch models`"):
        from shared.checkpoints.facts import BadCheckpoint
        from shared.checkpoints.judgement import complaint_about, read_facts
        from shared.checkpoints.pulling import pull

    try:
        place = pull(hub_id, precision)
        complaint = complaint_about(read_facts(place))
    except BadCheckpoint as error:
        say(str(error))
        raise typer.Exit(1) from error
    if complaint is not None:
        say(f"It was downloaded, but cannot be served: it is {complaint}.")
        raise typer.Exit(1)
    name = hub_id if place.is_dir() else place
    out.print(f"RETOUCH_BASE_MODEL={name}", markup=False, highlight=False)
