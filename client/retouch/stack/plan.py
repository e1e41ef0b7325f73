"""The processes of the service on this machine, and the settings of each.

Owns command lines and environments. Starts nothing.
"""

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retouch.stack.child_process import ChildSpec
from shared.settings import Settings

# Time after the worker's own grace period for returning jobs and signing off.
AFTER_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class StackPlan:
    """The processes to run. Without an `external_store` (its URL) the stack starts its own.

    `overrides` are settings for gateway and workers. Without workers, jobs are only accepted.
    """

    settings: Settings
    data_dir: Path
    host: str
    port: int
    workers: int = 1
    flower: bool = False
    external_store: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"


@dataclass(frozen=True)
class Parts:
    """The specs of everything except the store, and Flower's login if it runs."""

    specs: Sequence[ChildSpec]
    flower_auth: str | None = None


def plan_parts(plan: StackPlan, store_url: str, temporary: Path) -> Parts:
    """The workers first, since they need the longest time to start, then gateway and Flower."""
    environment = _environment(plan, store_url, temporary)
    workers = [_worker(plan, number + 1, environment) for number in range(plan.workers)]
    specs = [*workers, _gateway(plan, environment)]
    if not plan.flower:
        return Parts(specs)
    auth = plan.settings.flower_auth or f"retouch:{secrets.token_urlsafe(9)}"
    return Parts([*specs, _flower(plan, environment, auth)], auth)


def store_environment(temporary: Path) -> dict[str, str]:
    """The store's environment: it needs nothing from ours."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TMPDIR": str(temporary)}


def _environment(plan: StackPlan, store_url: str, temporary: Path) -> dict[str, str]:
    ours = {
        "RETOUCH_REDIS_URL": store_url,
        "RETOUCH_DATA_DIR": str(plan.data_dir),
        "RETOUCH_HOST": plan.host,
        "RETOUCH_PORT": str(plan.port),
        "TMPDIR": str(temporary),
        "PYTHONUNBUFFERED": "1",
    }
    alone = plan.workers == 1 and plan.external_store is None
    ours |= {"RETOUCH_ONLY_WORKER": "true"} if alone else {}
    return {**os.environ, **_shared_cores(plan), **ours, **plan.overrides}


def _shared_cores(plan: StackPlan) -> dict[str, str]:
    """Several workers divide the cores; if each used all of them, all would be slower."""
    if plan.workers < 2 or plan.settings.threads:
        return {}
    return {"RETOUCH_THREADS": str(max(1, (os.cpu_count() or 1) // plan.workers))}


def _module(name: str) -> list[str]:
    # -P: a folder called `api` in the current directory must not be imported.
    return [sys.executable, "-P", "-m", name]


def _worker(plan: StackPlan, number: int, environment: Mapping[str, str]) -> ChildSpec:
    name = f"worker-{number}"
    return ChildSpec(
        name=name,
        title=f"Worker {number}",
        command=_module("worker"),
        environment=environment,
        log=plan.log(name),
        grace_seconds=plan.settings.grace_seconds + AFTER_GRACE_SECONDS,
    )


def _gateway(plan: StackPlan, environment: Mapping[str, str]) -> ChildSpec:
    return ChildSpec(
        name="gateway",
        title="The gateway",
        command=_module("api"),
        environment=environment,
        log=plan.log("gateway"),
    )


def _flower(plan: StackPlan, environment: Mapping[str, str], auth: str) -> ChildSpec:
    return ChildSpec(
        name="flower",
        title="Flower",
        command=_module("shared.monitor"),
        environment={**environment, "RETOUCH_FLOWER_AUTH": auth},
        log=plan.log("flower"),
    )
