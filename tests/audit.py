"""`python -m tests.audit`: known faults in the packages that constraints.txt pins.

Fails on a finding. Where the advisories cannot be reached it says so and fails nothing: then
nothing is known, and the next run with a network will tell.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
PROBE = "pillow"


def main() -> int:
    """The exit status: 1 when a pinned package has a known fault."""
    lines = CONSTRAINTS.read_text().splitlines()
    # One package first: offline, asking for each of them would take its time.
    if not _audited([line for line in lines if line.lower().startswith(f"{PROBE}==")]):
        print("audit: the advisories cannot be reached from here; nothing was checked")
        return 0
    audited = _audited(lines)
    faulty = {name: faults for name, faults in audited.items() if faults}
    for name, faults in faulty.items():
        for fault in faults:
            mended = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"audit: {name} has {fault['id']}; mended in {mended}", file=sys.stderr)
    print(f"audit: {len(audited)} packages looked up, {len(faulty)} with known faults")
    return 1 if faulty else 0


def _audited(lines: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The faults of each package that could be looked up."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines))
        file.flush()
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", file.name),
                *("--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10"),
                *("--format", "json"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        return {}  # no answer at all: the network is away
    return {item["name"]: item["vulns"] for item in found if "skip_reason" not in item}


if __name__ == "__main__":
    sys.exit(main())
