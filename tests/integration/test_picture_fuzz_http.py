"""Broken pictures through the real gateway: no 5xx, nothing grows, the worker goes on.

`slow`: minutes. Run with `pytest -m slow tests/integration/test_picture_fuzz_http.py -s`.
"""

import time
from collections import Counter
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.support.mutations import mutated
from tests.support.stack import RunningUp, running_up
from tests.support.wait import wait_until

COUNT, WARMING = 6000, 1000
# Every so many uploads are sent as jobs, so that what is taken reaches a worker too.
JOB_EVERY = 20
SLACK_BYTES = 24 * 2**20
JOB = {"lora": "none", "steps": "1", "force": "true"}


def memory(up: RunningUp) -> dict[str, int]:
    """Resident bytes of the gateway with its decoders, and of the worker with its child."""
    held = {}
    for name in ("api", "worker"):
        mother = up.child(name)
        held[name] = sum(
            one.memory_info().rss for one in (mother, *mother.children(recursive=True))
        )
    return held


def send(client: httpx2.Client, count: int, seed: int) -> Counter[str]:
    """What became of each: `taken`, or status and code."""
    seen: Counter[str] = Counter()
    for number, (_, data) in enumerate(mutated(count, seed)):
        files = {"image": ("photo.png", data)}
        if number % JOB_EVERY:
            answer = client.post("/v1/images", files=files)
        else:
            answer = client.post("/v1/jobs", files=files, data=JOB)
        taken = answer.status_code in (201, 202)
        seen["taken" if taken else f"{answer.status_code} {answer.json()['code']}"] += 1
    return seen


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_broken_pictures_over_http(tmp_path: Path) -> None:
    # Given a service that has settled
    with (
        running_up(tmp_path, queue_limit="100000", rate_limit="off") as up,
        httpx2.Client(base_url=up.url, timeout=60) as client,
    ):
        send(client, WARMING, seed=3)
        pids = {name: up.child(name).pid for name in ("api", "worker")}
        before = memory(up)
        started = time.monotonic()

        # When broken pictures come by the thousand
        seen = send(client, COUNT, seed=4)

        # Then each is taken or refused in words, and what was taken is worked off
        seconds = time.monotonic() - started
        after = memory(up)
        print(f"\n {COUNT} in {seconds:.0f} s: {dict(sorted(seen.items()))}")
        print({name: f"{before[name] >> 20} -> {after[name] >> 20} MiB" for name in before})
        assert all(name == "taken" or name[:2] in ("41", "42") for name in seen)
        assert all(after[name] - before[name] < SLACK_BYTES for name in before)
        assert {name: up.child(name).pid for name in pids} == pids
        wait_until(lambda: is_idle(client), description="every job to end", seconds=120, every=1)
        assert "unforeseen error" not in (up.data_dir / "logs" / "gateway.log").read_text()
        assert up.said().count("starting it again") == 0
        assert psutil.pid_exists(pids["worker"])


def is_idle(client: httpx2.Client) -> bool:
    """Whether no job waits and none runs, as the ledger counts them."""
    counts = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith(("retouch_queue_size{", "retouch_jobs_running"))
    ]
    return len(counts) > 1 and all(line.endswith(" 0.0") for line in counts)
