"""Delivers webhooks: takes those that are due, sends them, and records the outcome of each.

Owns the schedule of retries. Waiting webhooks are stored in the ledger, so that they survive a
restart, and each belongs to one gateway at a time: if that gateway dies, another one retries. A
receiver may get a message twice, with the same id, and gets every message that it could have
accepted within a day.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import redis
import structlog
from opentelemetry.trace import SpanKind
from starlette.concurrency import run_in_threadpool

from api.webhooks.addresses import AddressRefused, Allowed, Target, parse_target
from api.webhooks.message import message, message_id
from api.webhooks.pinned import PinnedNetwork
from api.webhooks.sender import PICTURE_PATIENCE, SECONDS_EACH, TAKEN, Outcome, Sender
from api.webhooks.signing import Signer, make_signer
from shared.blobs import BlobStore
from shared.errors import ImageNotFound, JobNotFound
from shared.jobs import Job
from shared.ledger.store import JobStore
from shared.ledger.webhooks import Deliveries, Due
from shared.params import MEDIA_TYPES
from shared.periodic import note_failure, run_periodically
from shared.settings import Settings
from shared.tracing import fail, span, traceparent

LOOK_SECONDS = 1.0
AT_ONCE = 32
# How long after the end of its gateway an attempt is made by another one. A picture takes longer to
# send than a message, so its lease is extended before it is sent.
LEASE_SECONDS = SECONDS_EACH * 2
PICTURE_LEASE_SECONDS = LEASE_SECONDS + SECONDS_EACH * PICTURE_PATIENCE
MINUTE, HOUR = 60.0, 3600.0
# Waits between attempts: nine attempts within a day.
PATIENCE = (5.0, 30.0, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, 2 * HOUR, 6 * HOUR, 12 * HOUR)
JITTER = 0.2

logger = structlog.get_logger(__name__)


class Courier:
    """One per gateway. `start` and `stop` come in pairs, on the event loop."""

    def __init__(
        self,
        store: JobStore,
        deliveries: Deliveries,
        sender: Sender,
        signer: Signer,
        allowed: Allowed,
        blobs: BlobStore,
        patience: Sequence[float] = PATIENCE,
    ) -> None:
        self._store = store
        self._deliveries = deliveries
        self._sender = sender
        self._signer = signer
        self._allowed = allowed
        self._blobs = blobs
        self._patience = patience
        self._loop: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._loop = asyncio.create_task(run_periodically("webhooks", self._take, LOOK_SECONDS))

    async def stop(self) -> None:
        """Aborts deliveries in progress; their leases expire and they are sent again."""
        tasks = [task for task in (self._loop, *self._under_way) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self) -> None:
        free = AT_ONCE - len(self._under_way)
        if free <= 0:
            return
        for due in await run_in_threadpool(self._deliveries.take, free, LEASE_SECONDS):
            task = asyncio.create_task(self._deliver(due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _deliver(self, due: Due) -> None:
        try:
            outcome = await self._try(due)
            await run_in_threadpool(self._settle, due, outcome)
        except Exception as error:
            note_failure("webhooks", error)  # its lease expires, and it is due again

    async def _try(self, due: Due) -> Outcome:
        try:
            job = await run_in_threadpool(self._store.get, due.job_id)
        except JobNotFound:
            return Outcome("job_forgotten", is_final=True)
        with span("delivery", job.spec.trace, {"retouch.job": job.id}):
            outcome = await self._put_result(job, due)
            if outcome.reason is None and wants_message(job):
                outcome = await self._message(job, due)
        return outcome

    async def _put_result(self, job: Job, due: Due) -> Outcome:
        """Before the message, so that its receiver finds the picture there. Repeated as a whole."""
        if job.params.result_url is None or job.result is None:
            return TAKEN
        try:
            data = await run_in_threadpool(self._blobs.get, job.result.blob)
        except ImageNotFound:
            return Outcome("result_expired", is_final=True)
        await run_in_threadpool(self._deliveries.extend, due, PICTURE_LEASE_SECONDS)
        headers = {"Content-Type": MEDIA_TYPES[job.result.format]}
        return await self._send(job.params.result_url, headers, data, due, "PUT")

    async def _message(self, job: Job, due: Due) -> Outcome:
        text = message(job)
        headers = self._signer.headers(message_id(job), text, datetime.now(UTC))
        return await self._send(job.params.webhook_url or "", headers, text.encode(), due)

    async def _send(
        self, url: str, headers: dict[str, str], body: bytes, due: Due, method: str = "POST"
    ) -> Outcome:
        try:
            target = parse_target(url, self._allowed)
        except AddressRefused:
            return Outcome("address_refused", is_final=True)
        about = {"server.address": target.host, "http.request.method": method}
        with span("webhook" if method == "POST" else "result", "", about, SpanKind.CLIENT) as begun:
            # A presigned address may refuse headers that were not signed.
            if method == "POST" and (parent := traceparent()):
                headers["traceparent"] = parent
            outcome = await self._sender.send(target, headers, body, method)
            if outcome.reason is not None:
                fail(begun, outcome.reason)
        _note(due, target, outcome)
        return outcome

    def _settle(self, due: Due, outcome: Outcome) -> None:
        if outcome.reason is None:
            self._deliveries.delivered(due)
        elif outcome.is_final or due.attempt > len(self._patience):
            self._deliveries.give_up(due, outcome.reason)
        else:
            wait = self._patience[due.attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)
            self._deliveries.put_off(due, outcome.reason, max(wait, outcome.wait_seconds))


def wants_message(job: Job) -> bool:
    """Whether a message was asked for at this end of the job."""
    return job.params.webhook_url is not None and f"job.{job.state}" in job.params.webhook_events


def _note(due: Due, target: Target, outcome: Outcome) -> None:
    # Only the host: path and query of a receiver's address may hold its secrets.
    logger.info(
        "webhook",
        job=due.job_id,
        attempt=due.attempt,
        host=target.host,
        outcome=outcome.reason or "delivered",
    )


def make_courier(
    settings: Settings, client: redis.Redis, store: JobStore, blobs: BlobStore
) -> Courier:
    """The courier of a gateway with these settings. Raises BadSettings."""
    allowed = Allowed(settings.webhook_hosts)
    return Courier(
        store,
        Deliveries(client, settings),
        Sender(PinnedNetwork(allowed)),
        make_signer(settings),
        allowed,
        blobs,
    )
