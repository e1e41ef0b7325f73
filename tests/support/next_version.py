"""Records as the next version may write them: more fields everywhere, more enumeration values.

`python -m tests.support.next_version worker` is a worker of that version.
"""

import json
import runpy
import sys
from typing import Any

import redis

import shared.record

FUTURE = {"of_the_next_version": {"a": [1, 2]}}


def grown(value: Any) -> Any:
    """The same JSON with a new field in every object."""
    if isinstance(value, dict):
        return {name: grown(item) for name, item in value.items()} | FUTURE
    return [grown(item) for item in value] if isinstance(value, list) else value


def rewrite(client: redis.Redis, job_id: str, needs: int = 1, **params: object) -> None:
    """Makes this job look as if the next version had submitted it, with these parameters."""
    fields: Any = client.hgetall(f"job:{job_id}")
    asked = grown(json.loads(fields["params"])) | params
    spec = grown(json.loads(fields["spec"])) | {"needs": needs, "params": asked}
    client.hset(f"job:{job_id}", mapping={"spec": json.dumps(spec), "params": json.dumps(asked)})


class NextRecord(shared.record.Record):
    """Every record is written with an additional field; records without it can be read."""

    of_the_next_version: dict[str, list[int]] = {"a": [1, 2]}


def main(module: str) -> None:
    """Runs a part of the service with these records."""
    shared.record.Record = NextRecord  # type: ignore[misc]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
