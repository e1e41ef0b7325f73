"""Schemathesis with all its checks on the running service: what OpenAPI promises is what is there.

`slow`: it takes minutes. Run with `pytest -m slow tests/integration/test_schema.py -s`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import running_up

EXAMPLES = 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    with running_up(tmp_path, queue_limit="100000", allow_anonymous="1") as up:
        ended = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                *("run", f"{up.url}/openapi.json", "--checks", "all", "--no-color"),
                *("--max-examples", str(EXAMPLES), "--seed", "1", "--request-timeout", "70"),
                # Another key's job is a 404 here, by design not an authorisation error; ids of
                # deleted things stay readable; and what is positive by its schema may still be no
                # picture.
                *("--exclude-checks", "positive_data_acceptance,use_after_free"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1700,
            check=False,
        )
        print(ended.stdout[-6000:])

        assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2000:]
        log = (up.data_dir / "logs" / "gateway.log").read_text()
        assert "unforeseen error" not in log
