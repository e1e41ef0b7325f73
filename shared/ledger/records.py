"""Turns the ledger's hashes and streams into records.

Owns the field names of `job:{id}` for reading; the Lua scripts own them for writing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from shared.jobs import (
    Claim,
    Degraded,
    Delivery,
    Event,
    EventKind,
    Failure,
    Job,
    JobSpec,
    JobState,
    Preview,
    Progress,
    Result,
    Timings,
)
from shared.ledger.packing import unpack
from shared.params import JobParams
from shared.record import Record

Kind = TypeVar("Kind", bound=Record)


@dataclass(frozen=True)
class Idempotency:
    """A caller's key for a request, and a digest of the request."""

    key: str
    fingerprint: str


def read_job(fields: Mapping[str, str], job_ttl: int, result_ttl: int) -> Job:
    """Builds a Job from the fields of its hash."""
    fields = unpack(fields)
    created, finished = _time(fields["created_ms"]), _time(fields.get("finished_ms"))
    assert created is not None
    life = result_ttl if finished else job_ttl
    return Job(
        spec=JobSpec.read(fields["spec"]),
        params=JobParams.read(fields["params"]),
        state=JobState(fields["state"]),
        progress=_progress(fields),
        epoch=int(fields["epoch"]),
        attempt=int(fields["attempts"]),
        worker=fields.get("worker") or None,
        cancel_requested=fields["cancel"] == "1",
        degraded=[Degraded.read_fields(item) for item in json.loads(fields.get("degraded", "[]"))],
        preview=_parsed(Preview, fields.get("preview")),
        result=_parsed(Result, fields.get("result")),
        failure=_parsed(Failure, fields.get("failure")),
        timings=_parsed(Timings, fields.get("timings")) or Timings(),
        webhook=_delivery(fields),
        created_at=created,
        started_at=_time(fields.get("started_ms")),
        finished_at=finished,
        expires_at=datetime.fromtimestamp((finished or created).timestamp() + life, UTC),
    )


def read_claim(
    worker: str, _id: str, spec: str, params: str, epoch: int, attempt: int, *rest: str
) -> Claim:
    """Builds a Claim from the result of the claim script. Raises ValueError."""
    percent, queued_ms = rest[:2]
    return Claim(
        spec=JobSpec.read(spec).model_copy(update={"params": JobParams.read(params)}),
        worker=worker,
        epoch=epoch,
        attempt=attempt,
        percent=float(percent),
        queued_seconds=float(queued_ms) / 1000,
    )


def sent_blobs(spec: str) -> list[str]:
    """The blobs with the uploads of a stored JobSpec, whatever else the record contains."""
    fields = json.loads(spec)
    uploads = fields["source"], fields.get("mask")
    return [str(upload["blob"]) for upload in uploads if upload]


def read_event(entry_id: str, fields: Mapping[str, str]) -> Event:
    """Builds an Event from one entry of a job's stream."""
    return Event(id=entry_id, kind=EventKind(fields["kind"]), data=json.loads(fields["data"]))


def idempotency_key(client: str, idempotency: Idempotency) -> str:
    """The ledger's key for a caller's idempotency key, which may contain any characters."""
    return f"idempotency:{client}:{sha256(idempotency.key.encode()).hexdigest()}"


def webhook_states(params: JobParams) -> str:
    """The states for which a webhook was requested, in the form that the ledger's scripts use."""
    states = [str(event).removeprefix("job.") for event in params.webhook_events]
    wanted = states if params.webhook_url is not None else []
    if params.result_url is not None and "succeeded" not in wanted:
        wanted = [*wanted, "succeeded"]
    return " ".join(wanted)


def _delivery(fields: Mapping[str, str]) -> Delivery | None:
    if "webhook_state" not in fields:
        return None
    return Delivery.read_fields(
        {
            "state": fields["webhook_state"],
            "attempts": fields.get("webhook_attempts", 0),
            "reason": fields.get("webhook_reason") or None,
        }
    )


def _progress(fields: Mapping[str, str]) -> Progress:
    progress = _parsed(Progress, fields.get("progress")) or Progress()
    return progress.model_copy(update={"percent": float(fields["percent"])})


def _parsed(kind: type[Kind], text: str | None) -> Kind | None:
    return kind.read(text) if text else None


def _time(milliseconds: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


def dump_list(items: list[Degraded]) -> str:
    return json.dumps([item.model_dump(warnings=False) for item in items])
