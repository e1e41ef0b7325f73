"""The job ledger in Redis: the only truth about every job.

Owns the keys and the allowed transitions. A Celery message is only a hint that something is queued;
all reading and changing of jobs goes through here. Every write by a worker is fenced by the epoch
of its claim. Knows nothing of pictures' bytes, HTTP or pipelines.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import redis
import structlog

from shared.errors import (
    CrashedTooOften,
    IdempotencyKeyReuse,
    JobNotFound,
    QueueFull,
    RateLimited,
    RetouchError,
    StoreRefuses,
)
from shared.jobs import (
    Claim,
    CommitOutcome,
    Degraded,
    EventKind,
    Failure,
    Job,
    JobSpec,
    JobState,
    Preview,
    Progress,
    RerouteOutcome,
    Result,
    StepSignal,
    Timings,
)
from shared.ledger.fleet import DIGEST_LENGTH
from shared.ledger.packing import LAST_EVENT, pack
from shared.ledger.records import (
    Idempotency,
    dump_list,
    idempotency_key,
    read_claim,
    read_job,
    sent_blobs,
    webhook_states,
)
from shared.ledger.redis_client import translated_errors
from shared.ledger.scripts import Scripts
from shared.params import JobParams
from shared.record import Record
from shared.settings import Settings

IDEMPOTENCY_SECONDS = 86_400
COUNTS_SECONDS = 30 * 86_400
# Points by which a percentage was wrong; see api/metrics/fleet_metrics.py.
MISS_BUCKETS = (2, 5, 10, 20, 30, 50)

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Reaped:
    """A job that was taken back from a worker, and its new state."""

    job_id: str
    outcome: JobState
    worker: str
    epoch: int


class MustRunAlone(Exception):
    """Raised by `claim` when the next job was running when a worker died, so that it waits for a
    worker without other jobs; or when the claiming worker already holds such a job.
    """


def short_id(sha256: str) -> str:
    """Enough of a LoRA's digest to tell it from others on one worker."""
    return sha256[:DIGEST_LENGTH]


def _ids_of(params: JobParams) -> str:
    return " ".join(short_id(lora.sha256) for lora in params.loras if lora.sha256)


class JobStore:
    """The ledger. Safe to share between threads: its only state is a connection pool."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._since = time.monotonic()
        self._scripts = Scripts(client, settings.store_replicas)
        self._ttl = settings.job_ttl_seconds
        self._result_ttl = settings.result_ttl_seconds
        self.lease_seconds = settings.lease_seconds
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._hint_ms = int(settings.hint_seconds * 1000)
        self._max_crashes = settings.max_crashes
        self._queue_limit = settings.queue_limit

    # --- for the gateway

    def submit(
        self, spec: JobSpec, idempotency: Idempotency | None = None, most_live: int = 0
    ) -> str:
        """Records a job; returns the id of the job for this request (an earlier one when replayed).

        Raises QueueFull, RateLimited when the client already has `most_live` jobs (0: any number),
        IdempotencyKeyReuse, StoreUnavailable, StorageFull.
        """
        key = idempotency_key(spec.client, idempotency) if idempotency else ""
        outcome = self._scripts.run(
            "submit",
            spec.id,
            spec.stored(),
            spec.params.stored(),
            spec.base,
            spec.params.priority,
            spec.client,
            self._ttl,
            self._queue_limit,
            key,
            idempotency.fingerprint if idempotency else "",
            IDEMPOTENCY_SECONDS,
            webhook_states(spec.params),
            most_live,
            _ids_of(spec.params),
        )
        if outcome[0] == "full":
            raise QueueFull(f"{outcome[1]} jobs are waiting already")
        if outcome[0] == "busy":
            raise RateLimited(f"{outcome[1]} jobs of this client wait or run already")
        if outcome[0] == "conflict":
            raise IdempotencyKeyReuse("the key was used for another request")
        return str(outcome[1]) if outcome[0] == "replayed" else spec.id

    def is_busy(self, client: str, most_live: int) -> bool:
        """Whether the client has as many waiting and running jobs as it may."""
        return bool(self._scripts.run("busy", client, most_live))

    def kept_bytes(self, client: str, more: int = 0) -> int:
        """Bytes of a client's stored pictures, after adding `more`."""
        return int(self._scripts.run("kept", client, more, self._result_ttl))

    def find_replay(self, client: str, idempotency: Idempotency) -> str | None:
        """The job of an earlier equal request. Raises IdempotencyKeyReuse for a different one."""
        known = self._hash(idempotency_key(client, idempotency))
        if known and known["fingerprint"] != idempotency.fingerprint:
            raise IdempotencyKeyReuse("the key was used for another request")
        return known.get("job") if known else None

    def get(self, job_id: str) -> Job:
        """The current state of the job. Raises JobNotFound."""
        fields = self._hash(f"job:{job_id}")
        if not fields:
            raise JobNotFound(f"no job {job_id}")
        job = self._read(fields)
        return self._with_place(job) if job.state is JobState.QUEUED else job

    def snapshot(self, job_id: str) -> tuple[Job, str]:
        """The job, and the id of the last event that it includes, read together."""
        with translated_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(f"job:{job_id}")
            pipe.xrevrange(f"job:{job_id}:events", count=1)
            fields, newest = pipe.execute()
        if not fields:
            raise JobNotFound(f"no job {job_id}")
        last = newest[0][0] if newest else fields.get(LAST_EVENT, "0-0")
        job = self._read(fields)
        return job if job.state.is_terminal else self._with_place(job), last

    def has_events(self, job_id: str) -> bool:
        """Whether the job's stream is there; it is deleted some minutes after the job's end."""
        with translated_errors():
            return bool(self._redis.exists(f"job:{job_id}:events"))

    def is_over(self, job_id: str) -> bool:
        """Whether the job has ended, or is gone. Raises StoreUnavailable."""
        with translated_errors():
            state = self._redis.hget(f"job:{job_id}", "state")
        return state is None or JobState(str(state)).is_terminal

    def cancel(self, job_id: str) -> JobState:
        """Cancels the job and returns its state afterwards. A running job stops at its next step.

        Raises JobNotFound.
        """
        state = self._scripts.run("cancel", job_id, self._ttl)
        if state == "missing":
            raise JobNotFound(f"no job {job_id}")
        return JobState(state)

    def jobs_of(self, client: str, before_ms: int | None, limit: int) -> list[Job]:
        """A client's jobs, newest first, created strictly before `before_ms`."""
        top = f"({before_ms}" if before_ms is not None else "+inf"
        with translated_errors():
            key = f"client:{client}:jobs"
            ids = self._redis.zrevrangebyscore(key, top, "-inf", start=0, num=limit)
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(f"job:{job_id!s}")
                rows = pipe.execute()
        found = [job for fields in rows if fields and (job := self._readable(fields))]
        return [self._with_place(job) if job.state is JobState.QUEUED else job for job in found]

    def queues(self) -> list[str]:
        """The bases that jobs wait for, by name, whether or not a worker serves them."""
        return sorted(map(str, self._scripts.run("queues")))

    def unserved(self, served: Iterable[str]) -> dict[str, int]:
        """Waiting jobs by base, for all bases but those that are served."""
        known = set(served)
        return {base: self.queue_size(base) for base in self.queues() if base not in known}

    def queue_size(self, base: str) -> int:
        """Waiting jobs of this base."""
        with translated_errors():
            return int(self._redis.zcard(f"queued:{base}"))

    # --- for workers

    def claim(
        self, base: str, worker: str, ticket: str = "", loaded: Iterable[str] | None = None
    ) -> Claim | None:
        """The next job, now claimed by this worker; None if nothing waits. A repeated call with the
        same ticket, after a lost answer, returns the same job. Jobs whose LoRAs the worker has
        `loaded` (SHA-256) come first, see claim.lua; None keeps the jobs' order.

        Raises MustRunAlone.
        """
        own = ticket or uuid4().hex
        known = [] if loaded is None else [" ".join(map(short_id, loaded))]
        lease, ttl = self._lease_ms, self._ttl
        while row := self._scripts.run("claim", base, worker, lease, ttl, own, *known):
            if row[0] == "alone":
                raise MustRunAlone
            try:
                claim = read_claim(worker, *row)
            except ValueError as error:
                logger.error("a record is unreadable", job=row[0], reason=str(error))
            else:
                if claim.is_understood:
                    return claim
                logger.warning("a job needs a newer worker", job=row[0])
            self._scripts.run("refuse", row[0], worker, row[3], self._ttl)
        return None

    def is_named(self, base: str) -> bool:
        """Whether the jobs in this queue are for the base of exactly this name. Those that gateways
        before 0.2 put there are for any checkpoint of the family.
        """
        with translated_errors():
            return bool(self._redis.exists(f"named:{base}"))

    def waiting(self, base: str, worker: str) -> int:
        """Queued jobs that this worker could claim."""
        return int(self._scripts.run("waiting", base, worker))

    def renew(self, claim: Claim) -> StepSignal:
        """Renews the claim's lease."""
        return StepSignal(
            self._scripts.run("renew", *self._fence(claim), self._lease_ms, self._ttl)
        )

    def report_progress(self, claim: Claim, progress: Progress) -> StepSignal:
        """Records the job's progress and notifies its followers."""
        return self._report(claim, EventKind.PROGRESS, "progress", progress, progress.percent)

    def report_preview(self, claim: Claim, preview: Preview) -> StepSignal:
        """Record that a preview's bytes can be fetched."""
        return self._report(claim, EventKind.PREVIEW, "preview", preview)

    def report_params(self, claim: Claim, params: JobParams) -> StepSignal:
        """Records parameters that could be settled only after looking at the picture."""
        return self._report(claim, EventKind.STATE, "params", params)

    def commit(
        self,
        claim: Claim,
        result: Result,
        progress: Progress,
        timings: Timings,
        degraded: list[Degraded],
    ) -> CommitOutcome:
        """Makes `result` the job's only result, unless the claim is stale or the job was
        canceled.
        """
        outcome: CommitOutcome = self._scripts.run(
            "commit",
            *self._fence(claim),
            self._ttl,
            result.stored(),
            progress.stored(),
            timings.stored(),
            dump_list(degraded),
            self._result_ttl,
        )
        return outcome

    def fail(self, claim: Claim, failure: Failure | None, timings: Timings) -> bool:
        """Ends the job without a picture, `failure=None` for a cancellation; False if the claim is
        stale.
        """
        text = failure.stored() if failure else ""
        answer = self._scripts.run("fail", *self._fence(claim), self._ttl, text, timings.stored())
        return bool(answer == "committed")

    def release(self, claim: Claim) -> bool:
        """Returns the job to the queue without counting the attempt; False if the claim is
        stale.
        """
        return bool(self._scripts.run("release", *self._fence(claim), self._ttl) == "released")

    def refuse(self, claim: Claim) -> bool:
        """Returns the job to the queue for other workers: this one does not get it again. False if
        the claim is stale.
        """
        return bool(self._scripts.run("refuse", *self._fence(claim), self._ttl) == "released")

    def reroute(self, claim: Claim, base: str, params: JobParams) -> RerouteOutcome:
        """Gives a running job to the workers of another base, with these parameters; the attempt
        does not count.
        """
        spec = claim.spec.model_copy(update={"base": base})
        outcome: RerouteOutcome = self._scripts.run(
            "reroute",
            *self._fence(claim),
            self._ttl,
            base,
            spec.stored(),
            params.stored(),
            _ids_of(params),
        )
        return outcome

    # --- for the reaper and the supervisor

    def reap_expired(self) -> list[Reaped]:
        """Takes back every job whose lease has expired."""
        return self._reap("")

    def reap_worker(
        self, worker: str, last_straw: type[RetouchError] = CrashedTooOften, blame: bool = True
    ) -> list[Reaped]:
        """Takes back at once all jobs of a worker that is known to be dead. `last_straw` is the
        failure of a job whose last attempt this was. With `blame=False` the worker was stopped,
        which is not its jobs' fault and does not count as an attempt.
        """
        return self._reap(worker, last_straw, blame)

    def overdue(self, base: str, limit: int) -> list[str]:
        """Queued jobs that need another hint, at most `limit`; they count as hinted now."""
        return list(self._scripts.run("overdue", base, self._hint_ms, limit))

    def pack_finished(self, age_seconds: float, limit: int) -> int:
        """Packs records of jobs that ended at least so long ago, and deletes their events; returns
        how many it found.
        """
        found = self._scripts.run("finished", int(age_seconds * 1000), limit)
        for job_id in found:
            self._pack(job_id)
        return len(found)

    def _pack(self, job_id: str) -> None:
        try:
            packed = pack(self._hash(f"job:{job_id}"))
        except (LookupError, ValueError, TypeError):
            # Gone, packed already, or unreadable: it stays as it is.
            with translated_errors():
                self._redis.zrem("finished", job_id)
        else:
            self._scripts.run("pack", job_id, packed)

    def sources_in_use(self) -> set[str]:
        """Blobs of the uploads that unfinished jobs still need."""
        keys = [*(f"queued:{base}" for base in self.queues()), "running"]
        with translated_errors():
            ids = [job_id for key in keys for job_id in self._redis.zrange(key, 0, -1)]
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hget(f"job:{job_id!s}", "spec")
                specs = pipe.execute()
        return {blob for spec in specs if spec for blob in sent_blobs(spec)}

    def counts(self) -> dict[str, float]:
        """The fleet's counters, by name; see api/metrics/fleet_metrics.py."""
        return {name: float(value) for name, value in self._hash("counts").items()}

    def count(self, what: str) -> None:
        """Adds one to a counter, like shared/ledger/lua/prelude.lua does."""
        with translated_errors(), self._redis.pipeline() as pipe:
            pipe.hincrbyfloat("counts", what, 1)
            pipe.expire("counts", COUNTS_SECONDS)
            pipe.execute()

    def note_misses(self, base: str, points: Mapping[int, float]) -> None:
        """Counts by how many points a job's percentage was wrong, at each of these quarters."""
        if not points:
            return
        with translated_errors(), self._redis.pipeline() as pipe:
            for quarter, missed in points.items():
                what = f"missed:{base}:{quarter}"
                for bucket in MISS_BUCKETS:
                    if missed <= bucket:
                        pipe.hincrbyfloat("counts", f"{what}:{bucket}", 1)
                pipe.hincrbyfloat("counts", f"{what}:+Inf", 1)
                pipe.hincrbyfloat("counts", f"{what}:sum", missed)
            pipe.execute()

    def running(self) -> int:
        """Number of running jobs."""
        with translated_errors():
            return int(self._redis.zcard("running"))

    def running_of(self, base: str) -> int:
        """Number of running jobs of this base."""
        with translated_errors():
            ids = self._redis.zrange("running", 0, -1)
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hget(f"job:{job_id!s}", "base")
                return pipe.execute().count(base)

    def oldest_seconds(self, base: str) -> float:
        """How long the oldest waiting job has waited since it was last queued."""
        with translated_errors():
            first: Any = self._redis.zrange(f"queued:{base}", 0, 0, withscores=True)
            seconds, microseconds = self._redis.time()
        now = seconds + microseconds / 1e6
        return max(0.0, now - first[0][1] / 1000) if first else 0.0

    def uptime_seconds(self) -> int:
        """How long the store's process has been running; as far as this process can know where the
        store's user may not ask.
        """
        try:
            with translated_errors():
                info: Mapping[str, Any] = self._redis.info("server")
        except StoreRefuses:
            return int(time.monotonic() - self._since)
        return int(info["uptime_in_seconds"])

    def is_durable(self) -> bool:
        """Whether accepted jobs survive the end of the store's process, as far as its user may
        know.
        """
        try:
            with translated_errors():
                info: Mapping[str, Any] = self._redis.info("persistence")
        except StoreRefuses:
            return True
        return bool(info.get("aof_enabled", 1))

    def memory(self) -> tuple[int, int] | None:
        """Bytes that the store uses, and those that it may use (0: no limit); None where the
        store's user may not ask.
        """
        try:
            with translated_errors():
                info: Mapping[str, Any] = self._redis.info("memory")
        except StoreRefuses:
            return None
        return int(info["used_memory"]), int(info.get("maxmemory", 0))

    def elect(self, role: str, token: str, seconds: float) -> bool:
        """Whether this process holds `role` now; the holder extends it by asking again."""
        with translated_errors():
            if self._redis.set(f"elected:{role}", token, px=int(seconds * 1000), nx=True):
                return True
            if self._redis.get(f"elected:{role}") != token:
                return False
            return bool(self._redis.pexpire(f"elected:{role}", int(seconds * 1000)))

    def ping(self) -> None:
        """Raises StoreUnavailable when the store does not answer."""
        with translated_errors():
            self._redis.ping()

    # --- inside

    def _reap(
        self, worker: str, last_straw: type[RetouchError] = CrashedTooOften, blame: bool = True
    ) -> list[Reaped]:
        failure = Failure(
            code=last_straw.code,
            message=f"{self._max_crashes} attempts crashed their worker",
            retryable=last_straw.retryable,
        )
        flat = self._scripts.run(
            "reap",
            self._ttl,
            self._max_crashes,
            failure.stored(),
            worker,
            self._lease_ms,
            int(blame),
        )
        rows = zip(flat[0::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
        return [
            Reaped(job_id, JobState(outcome), owner, int(epoch))
            for job_id, outcome, owner, epoch in rows
        ]

    def _report(
        self, claim: Claim, kind: EventKind, field: str, value: Record, percent: float = 0.0
    ) -> StepSignal:
        text = value.stored()
        answer = self._scripts.run(
            "report", *self._fence(claim), self._ttl, kind, field, text, percent
        )
        return StepSignal(answer)

    def _hash(self, key: str) -> dict[str, str]:
        with translated_errors():
            return cast(dict[str, str], self._redis.hgetall(key))

    def _fence(self, claim: Claim) -> tuple[str, str, int]:
        return claim.spec.id, claim.worker, claim.epoch

    def _with_place(self, job: Job) -> Job:
        position, size, is_served = self._scripts.run("place", job.id)
        place = {"queue_position": position, "queue_size": size, "is_served": bool(is_served)}
        return job.model_copy(update=place)

    def _readable(self, fields: Mapping[str, str]) -> Job | None:
        """An unreadable record must not hide the others of its list."""
        try:
            return self._read(fields)
        except (ValueError, KeyError) as error:
            logger.error("a record is unreadable", reason=str(error))
            return None

    def _read(self, fields: Mapping[str, str]) -> Job:
        return read_job(fields, self._ttl, self._result_ttl)
