"""The list of what is installed names retouch with its version."""

import json
from pathlib import Path

from retouch.version import __version__
from tests.sbom import main


def test_the_list_names_the_project_s_own_version(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    file.write_text(json.dumps({"metadata": {"component": {"name": "retouch"}}, "components": []}))
    main(file)
    own = json.loads(file.read_text())["metadata"]["component"]
    assert (own["name"], own["version"]) == ("retouch", __version__)
    assert own["purl"] == f"pkg:generic/retouch@{__version__}"
