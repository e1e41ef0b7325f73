"""One trace from a caller's request through hint, claim and stages to the webhook."""

from pathlib import Path

import httpx2
import pytest

from retouch import Client
from tests.support.collector import Collector, Seen, running_collector
from tests.support.stack import running_up
from tests.support.wait import wait_until
from tests.support.workers import picture

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"


def of_trace(collector: Collector) -> dict[str, Seen]:
    return {span.name: span for span in list(collector.spans) if span.trace == TRACE}


def test_a_callers_trace_goes_through_gateway_worker_and_webhook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with running_collector() as collector:
        allowed = collector.url.removeprefix("http://")
        with running_up(
            tmp_path, traces_url=collector.url, webhook_hosts=allowed, log_format="json"
        ) as up:
            answer = httpx2.post(
                f"{up.url}/v1/jobs",
                files={"image": ("a.webp", picture())},
                data={"lora": "none", "webhook_url": f"{collector.url}/hook"},
                headers={"traceparent": CALLER, "X-Request-ID": "order-7"},
            )
            job_id = answer.json()["id"]
            with Client(up.url) as client:
                client.wait(job_id)
            wait_until(lambda: "webhook" in of_trace(collector), description="the webhook's span")
            wait_until(lambda: "job" in of_trace(collector), description="the job's span")
            logs = {path.stem: path.read_text() for path in (up.data_dir / "logs").iterdir()}

    spans = of_trace(collector)
    request, job = spans["POST /v1/jobs"], spans["job"]
    assert request.parent == "00f067aa0ba902b7"
    assert (request.service, job.service) == ("retouch-gateway", "retouch-worker")
    assert spans["hint"].parent == job.parent == request.id
    for stage in ("loading", "encoding", "denoising", "decoding", "saving"):
        assert spans[stage].parent == job.id
        assert job.began <= spans[stage].began <= spans[stage].ended
    assert job.attributes["retouch.job"] == job_id
    assert job.attributes["retouch.outcome"] == "succeeded"
    # The receiver is told where it is in the trace, and both logs name it
    assert collector.hooks[0]["traceparent"].split("-")[1] == TRACE
    for process in ("gateway", "worker-1"):
        lines = [line for line in logs[process].splitlines() if job_id in line]
        assert any(TRACE in line and "order-7" in line for line in lines), process
