"""A trace as a picture: one job through gateway, worker and webhook, with the embedded base.

`python -m benchmarks.trace_picture` starts the service beside a collector of its own, sends a photo
and draws the spans that arrive into docs/trace.png.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from benchmarks.service import photo, running_service
from retouch import Client
from tests.support.collector import Seen, running_collector
from tests.support.wait import wait_until

PLOT = Path(__file__).resolve().parents[1] / "docs/trace.png"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COLOURS = {"retouch-gateway": "#2563eb", "retouch-worker": "#16a34a"}


def collected() -> list[Seen]:
    """The spans of one job."""
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "200"
    with TemporaryDirectory() as folder, running_collector() as collector:
        environment = {
            "RETOUCH_TRACES_URL": collector.url,
            "RETOUCH_WEBHOOK_HOSTS": collector.url.removeprefix("http://"),
        }
        with running_service(Path(folder), environment) as (url, _):
            form = {"lora": "restore", "webhook_url": f"{collector.url}/hook"}
            files = {"image": ("photo.jpg", photo(512))}
            parent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            answer = httpx2.post(f"{url}/v1/jobs", data=form, files=files, headers=parent)
            with Client(url) as client:
                client.wait(answer.json()["id"])
            for name in ("job", "webhook"):
                wait_until(lambda: collector.named(name), description=name, seconds=60)  # noqa: B023
        return sorted((s for s in collector.spans if s.trace == TRACE), key=lambda s: s.began)


def draw(spans: list[Seen]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    began = spans[0].began
    figure, axes = plt.subplots(figsize=(9, 0.35 * len(spans) + 0.8))
    for row, span in enumerate(spans):
        start, length = (span.began - began) / 1e6, (span.ended - span.began) / 1e6
        axes.barh(row, max(length, 2), left=start, color=COLOURS[span.service])
        axes.text(start + max(length, 2) + 8, row, f"{length:.0f} ms", va="center", fontsize=8)
    axes.set_yticks(range(len(spans)), [f"{s.name} ({s.service[8:]})" for s in spans], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds since the request")
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    draw(collected())
