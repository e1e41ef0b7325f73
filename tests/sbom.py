"""`python -m tests.sbom FILE`: writes retouch's own version into a CycloneDX list.

cyclonedx-py reads pyproject.toml, where the version is only a reference to retouch/version.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

from retouch.version import __version__


def main(file: Path) -> None:
    listed: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    own = listed["metadata"]["component"]
    own |= {"version": __version__, "purl": f"pkg:generic/{own['name']}@{__version__}"}
    file.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
