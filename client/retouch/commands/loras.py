"""`retouch loras`: which LoRAs the service has, and whether a file could be added."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from retouch.commands.processes import PASS_THROUGH, convert
from retouch.console import language, out, print_json
from retouch.interrupts import Interrupts
from retouch.records import Lora
from retouch.server_packages import server_packages
from retouch.service import service

app = typer.Typer(no_args_is_help=True, help="List LoRAs, or check LoRA files.")

app.command(context_settings=PASS_THROUGH)(convert)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
COLOURS = {"available": "green", "quarantined": "red", "incompatible": "yellow"}


@app.command("list")
def list_loras(as_json: AsJson = False) -> None:
    """List the LoRAs of the server at RETOUCH_URL, or of the folder RETOUCH_LORAS_DIR."""
    with Interrupts() as interrupts, service(interrupts, workers=0) as client:
        items = client.loras()
    if as_json:
        print_json([item.model_dump() for item in items])
    elif items:
        out.print(_table(items))
    else:
        out.print(
            "No LoRAs. Put .safetensors files into the LoRA folder; loras/README.md says how."
        )


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="LoRA files (.safetensors).")],
    as_json: AsJson = False,
) -> None:
    """Show what each file is and whether it may be used. Exit 0 only if all may."""
    verdicts = [_verdict(file) for file in files]
    if as_json:
        print_json(verdicts)
    else:
        for verdict in verdicts:
            _tell(verdict)
    if any(verdict["state"] != "available" for verdict in verdicts):
        raise typer.Exit(1)


def _verdict(file: Path) -> dict[str, Any]:
    with server_packages("`retouch loras check`"):
        from shared.loras.check import check_for_service
        from shared.settings import load_settings
    entry = check_for_service(file, load_settings().base_model)
    reason = entry.reason_zh if language() == "zh" else entry.reason
    return {
        "file": str(file),
        "sha256": entry.sha256,
        "base": entry.base,
        "kind": entry.kind.value,
        "rank": entry.rank,
        "state": entry.state.value,
        "reason_code": entry.reason_code,
        "trigger_words": entry.trigger_words,
        "unplaced": list(entry.unplaced),
        "reason": reason or entry.reason,
        "evidence": entry.evidence,
    }


def _tell(verdict: dict[str, Any]) -> None:
    state = verdict["state"]
    out.print(f"{verdict['file']}: ", end="", markup=False)
    out.print(state, style=COLOURS[state], end="")
    out.print(f"  {verdict['kind']}, rank {verdict['rank'] or '?'}, base {verdict['base']}")
    for line in ([verdict["reason"]] if verdict["reason"] else []) + verdict["evidence"]:
        out.print(f"  {line}", markup=False)
    for name in verdict["unplaced"]:
        out.print(f"  no counterpart in the base: {name}", markup=False)
    if verdict["trigger_words"]:
        out.print(f"  trigger words: {', '.join(verdict['trigger_words'])}", markup=False)


def _table(items: list[Lora]) -> Table:
    columns = ("name", "base", "served by", "state", "rank", "about")
    table = Table(*columns, box=None, pad_edge=False)
    for item in items:
        state = f"[{COLOURS.get(item.state, 'default')}]{item.state}[/]"
        about = item.reason or _title(item)
        served = ", ".join(item.served_by) or "-"
        table.add_row(item.name, item.base, served, state, str(item.rank or "?"), about)
    return table


def _title(item: Lora) -> str:
    if isinstance(item.title, dict):
        return item.title.get(language()) or item.title.get("en") or ""
    return item.title or ""
