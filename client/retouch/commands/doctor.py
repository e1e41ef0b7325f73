"""`retouch doctor`: what is missing on this machine, and how to fix it."""

from dataclasses import asdict
from typing import Annotated

import typer

from retouch.console import out, print_json
from retouch.diagnosis.finding import Finding
from retouch.server_packages import server_packages

COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check everything that retouch needs. Exit 0 unless something is missing."""
    with server_packages("`retouch doctor`"):
        from retouch.diagnosis.examine import examine
        from shared.settings import load_settings
    findings = []
    for finding in examine(load_settings()):
        findings.append(finding)
        if not as_json:
            _tell(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    out.print(f"{finding.state:8}", style=COLOURS[finding.state], end="")
    out.print(f" {finding.name}: {finding.detail}", markup=False)
    if finding.mend:
        out.print(f"         {finding.mend}", markup=False)
