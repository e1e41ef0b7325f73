"""The board of deploy/grafana, filled by a real Prometheus and drawn without Grafana.

Owns the picture docs/board.png: every query of every panel is run by Prometheus, as Grafana would
run it, and drawn where the board places the panel. `benchmarks.autoscaling` fills it with its day.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from retouch.stack.ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
BOARD = REPOSITORY / "deploy/grafana/retouch.json"
RULES = REPOSITORY / "deploy/prometheus/rules.yml"
PLOT = REPOSITORY / "docs/board.png"
SCRAPE_SECONDS = 2
STEP_SECONDS = 2
CONFIG = """\
global: {{scrape_interval: {seconds}s, evaluation_interval: {seconds}s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: retouch
    authorization: {{credentials: {key}}}
    static_configs: [{{targets: ["{target}"]}}]
"""


@dataclass(frozen=True)
class Prometheus:
    """A running server and when it began, in seconds since 1970."""

    url: str
    began: float

    def ranges(self, query: str) -> list[dict[str, Any]]:
        """The query's series since the beginning. Raises if Prometheus refuses the query."""
        asked = {"query": query, "start": self.began, "end": time.time(), "step": STEP_SECONDS}
        answer = httpx2.get(f"{self.url}/api/v1/query_range", params=asked, timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return found

    def alerts(self) -> list[str]:
        """Names of the alerts that are pending or firing."""
        answer = httpx2.get(f"{self.url}/api/v1/alerts", timeout=30).raise_for_status()
        return sorted({one["labels"]["alertname"] for one in answer.json()["data"]["alerts"]})


@contextmanager
def scraping(target: str, key: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the rules of deploy/, which scrapes this host and port."""
    found = shutil.which("prometheus")
    if found is None:
        raise SystemExit("prometheus is not installed (apt-get install prometheus)")
    config = folder / "prometheus.yml"
    config.write_text(
        CONFIG.format(seconds=SCRAPE_SECONDS, rules=json.dumps(str(RULES)), key=key, target=target)
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(found, f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}"),
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://{address}", time.time())
    finally:
        process.terminate()
        process.wait(30)


def draw(prometheus: Prometheus) -> dict[str, int]:
    """Draws the board; returns each panel's number of series."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    board = json.loads(BOARD.read_text())
    panels = board["panels"]
    lines = max(panel["gridPos"]["y"] for panel in panels) // 8 + 1
    figure, axes = plt.subplots(lines, 3, figsize=(15, 2.6 * lines), sharex=True)
    counts = {}
    for panel in panels:
        place = panel["gridPos"]
        counts[panel["title"]] = _draw_panel(
            axes[place["y"] // 8][place["x"] // 8], panel, prometheus
        )
    figure.supxlabel("minutes")
    figure.suptitle(board["title"])
    figure.tight_layout()
    figure.savefig(PLOT, dpi=80)
    return counts


def _draw_panel(axes: Any, panel: dict[str, Any], prometheus: Prometheus) -> int:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_title(f"{panel['title']} [{unit}]" if unit != "short" else panel["title"], fontsize=9)
    axes.tick_params(labelsize=8)
    number = 0
    for target in panel["targets"]:
        for series in prometheus.ranges(target["expr"]):
            points = [(float(at), float(value)) for at, value in series["values"]]
            minutes = [(at - prometheus.began) / 60 for at, _ in points]
            label = _legend(target["legendFormat"], series["metric"])
            axes.plot(minutes, [value for _, value in points], label=label, linewidth=1.2)
            number += 1
    axes.set_ylim(bottom=0, auto=True)
    axes.set_xlim(0, (time.time() - prometheus.began) / 60)
    if number:
        axes.legend(fontsize=7, loc="upper left")
    return number


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text
