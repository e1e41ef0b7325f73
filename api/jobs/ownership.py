"""Jobs by id, for their owner only.

Owns the rule that another client's job looks the same as one that never existed.
"""

import re
from datetime import UTC, datetime

from api.wire.presenter import has_expired
from shared.errors import JobNotFound, ResultExpired
from shared.jobs import Job
from shared.ledger.store import JobStore

JOB_ID = re.compile(r"[0-9a-f]{32}")


def owned(job: Job, client: str) -> Job:
    """The job, if it belongs to this client. Raises JobNotFound, ResultExpired."""
    if job.spec.client != client:
        raise JobNotFound()
    if has_expired(job, datetime.now(UTC)):
        raise ResultExpired()
    return job


def owned_job(store: JobStore, job_id: str, client: str) -> Job:
    """This client's job. Raises JobNotFound, ResultExpired, StoreUnavailable."""
    return owned(store.get(checked_id(job_id)), client)


def checked_id(job_id: str) -> str:
    """An id that can be used in the name of a key. Raises JobNotFound."""
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound()
    return job_id
