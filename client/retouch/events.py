"""A job's events as one unbroken sequence, whatever happens to the connections that carry it.

Owns resuming: after a lost connection the next one asks for what follows the last event seen, so
nothing is missing and nothing comes twice.
"""

import json
import time
from collections.abc import Iterator
from typing import get_args

import httpx2

from retouch.patience import Patience
from retouch.problems import RetouchProblem, Unreachable
from retouch.records import Event
from retouch.transport import WORTH_ANOTHER_TRY, StreamOver, Transport

# A connection that lived this long was a good one, even if the job had no news.
LIVELY_SECONDS = 5.0
KINDS: tuple[str, ...] = get_args(Event.model_fields["kind"].annotation)


def follow(transport: Transport, job_id: str) -> Iterator[Event]:
    """Every event of the job, up to and with the last one.

    A connection that breaks, falls silent or ends early is made anew with `Last-Event-ID`. Raises
    RetouchProblem when the service refuses (an unknown job, say), and Unreachable when no good
    connection has come about for as long as the transport's patience lasts.
    """
    last_id: str | None = None
    patience = transport.patience()
    while True:
        cause, retry_after = "the stream ended early", None
        try:
            for event in _one_connection(transport, job_id, last_id, patience):
                last_id = event.id or last_id
                yield event
                if event.is_last:
                    return
        except StreamOver:
            return
        except httpx2.TransportError as error:
            cause = str(error) or type(error).__name__
        except RetouchProblem as problem:
            if problem.status not in WORTH_ANOTHER_TRY:
                raise
            cause, retry_after = problem.detail, problem.retry_after
        if not patience.wait(retry_after):
            raise Unreachable(transport.url, cause)


def _one_connection(
    transport: Transport, job_id: str, last_id: str | None, patience: Patience
) -> Iterator[Event]:
    with transport.event_stream(f"/v1/jobs/{job_id}/events", last_id) as stream:
        opened = time.monotonic()
        try:
            for sent in stream:
                if sent.event in KINDS and sent.data:
                    patience.renew()
                    yield Event(id=sent.id, kind=sent.event, data=json.loads(sent.data))
        finally:
            if time.monotonic() - opened > LIVELY_SECONDS:
                patience.renew()
