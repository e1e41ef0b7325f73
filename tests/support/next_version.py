"""Records as the version after this one may write them: more fields everywhere, more words.

`python -m tests.support.next_version worker` is a worker of that version, with `api` a gateway.
"""

import json
import runpy
import sys
from typing import Any

import redis

from shared import record

MODULE = "tests.support.next_version"
ENGINE = "worker.process.engine_child"
FUTURE = {"of_the_next_version": 2.5}


def grown(value: Any) -> Any:
    """The same JSON with a new field in every object."""
    if isinstance(value, dict):
        return {name: grown(item) for name, item in value.items()} | FUTURE
    return [grown(item) for item in value] if isinstance(value, list) else value


def rewrite(client: redis.Redis, job_id: str, needs: int = 1, **params: object) -> None:
    """Have the next version have submitted this job, with these parameters in its own words."""
    fields: Any = client.hgetall(f"job:{job_id}")
    asked = grown(json.loads(fields["params"])) | params
    spec = grown(json.loads(fields["spec"])) | {"needs": needs, "params": asked}
    client.hset(f"job:{job_id}", mapping={"spec": json.dumps(spec), "params": json.dumps(asked)})


class NextRecord(record.Record):
    """Every record is written with a field more, and reads what lacks it."""

    of_the_next_version: float = 2.5


def main(part: str) -> int:
    """Run a part of the service with these records."""
    become_the_next_version()
    if part == "worker":
        return supervise()
    sys.argv = [part, *sys.argv[2:]]
    runpy.run_module(part, run_name="__main__", alter_sys=True)
    return 0


def become_the_next_version() -> None:
    """Before any record is defined: all of them, and what a worker may take on."""
    record.Record = NextRecord  # type: ignore[misc]
    from shared import jobs

    jobs.RECORDS_VERSION += 1


def supervise() -> int:
    """As worker/__main__.py does, with an engine process of the next version, too."""
    from shared.ledger.redis_client import connect
    from shared.log import configure_logging
    from shared.settings import load_settings
    from worker.process.child_reaper import ChildReaper
    from worker.process.supervisor import Supervisor

    settings = load_settings()
    configure_logging(settings)
    reaper = ChildReaper(connect(settings.redis_url), settings)
    return Supervisor(settings, lambda: reaper, [sys.executable, "-m", MODULE, ENGINE]).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
