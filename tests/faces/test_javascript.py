"""The JavaScript client, by Node's test runner against the running service, and from a page."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shared.settings import REPOSITORY
from tests.faces.conftest import KEYS
from tests.support.pictures import photo
from tests.support.stack import RunningUp

CLIENT = REPOSITORY / "client-js"
MOST_BYTES = 4096


def test_it_stays_within_four_kilobytes() -> None:
    assert len(gzip.compress((CLIENT / "retouch.js").read_bytes(), 9)) <= MOST_BYTES


@pytest.mark.timeout(320)
def test_nodes_test_runner_passes(up: RunningUp, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None and not os.environ.get("CI"):
        pytest.skip("there is no node here")
    assert node is not None
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(photo(96, 72))
    ended = subprocess.run(
        [node, "--test", "test/"],
        cwd=CLIENT,
        env={**os.environ, "RETOUCH_URL": up.url, "RETOUCH_API_KEY": KEYS["ada"]}
        | {"PHOTO": str(picture)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-4000:]
