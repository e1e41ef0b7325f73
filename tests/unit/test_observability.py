"""Rules and board in deploy/: they name metrics that there are, and promtool takes them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from api.metrics.metrics import Metrics
from shared.jobs import Progress, Stage, Timings
from shared.ledger.fleet import Fleet
from shared.ledger.store import JobStore
from shared.settings import REPOSITORY
from tests.support.fleet import claim
from tests.support.jobs import make_result, make_spec

RULES = REPOSITORY / "deploy/prometheus/rules.yml"
BOARD = REPOSITORY / "deploy/grafana/retouch.json"
NAME = re.compile(r"retouch_\w+")


@pytest.fixture
def families(store: JobStore, redis_client: object) -> set[str]:
    """Every series that a gateway shows."""
    return {name for name, _ in shown(store, redis_client)}


def shown(store: JobStore, client: object) -> list[tuple[str, dict[str, str]]]:
    spec = make_spec()
    store.submit(spec)
    done = Progress(stage=Stage.SAVING, percent=100.0, step=4, total_steps=4, eta_seconds=0.0)
    store.commit(claim(store), make_result(), done, Timings(total_seconds=1.0), [])
    store.note_misses("tiny", {25: 1.0, 50: 7.5, 75: 80.0})
    metrics = Metrics()
    metrics.count("GET", "/", 200, 0.1)
    text = metrics.render(store, Fleet(client), "tiny").decode()  # type: ignore[arg-type]
    return [
        (sample.name, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in [*family.samples, *_declared(family.name, family.type)]
    ]


def _declared(name: str, kind: str) -> list[Sample]:
    """A family without series yet, by the name that its series will have."""
    return [Sample(f"{name}_total" if kind == "counter" else name, {}, 0.0)]


def test_rules_and_board_name_metrics_that_there_are(families: set[str]) -> None:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    panels = json.loads(BOARD.read_text())["panels"]
    asked = [rule["expr"] for rule in rules]
    asked += [target["expr"] for panel in panels for target in panel["targets"]]

    named = {name for text in asked for name in NAME.findall(text)}

    assert len(named) > 10
    assert named - families == set()


def test_waiting_and_duration_are_told_by_base_and_priority(
    store: JobStore, redis_client: object
) -> None:
    samples = shown(store, redis_client)

    for name in ("retouch_job_wait_seconds", "retouch_job_seconds"):
        labels = {"base": "tiny", "priority": "interactive"}
        assert (f"{name}_bucket", labels | {"le": "+Inf"}) in samples
        assert (f"{name}_sum", labels) in samples


def test_how_wrong_the_percentage_was_is_told_at_every_quarter(
    store: JobStore, redis_client: object
) -> None:
    samples = shown(store, redis_client)

    for quarter in ("25", "50", "75"):
        labels = {"base": "tiny", "quarter": quarter}
        assert ("retouch_progress_error_points_bucket", labels | {"le": "10"}) in samples


@pytest.mark.parametrize(
    "command", [("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")]
)
def test_promtool_takes_the_rules(command: tuple[str, ...]) -> None:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    folder: Path = RULES.parent
    ended = subprocess.run(
        [found, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
