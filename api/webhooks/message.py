"""The content of a webhook: the event's name, its time, and the job as its owner sees it.

Owns the message's id, which is the same for every attempt, so that a receiver can recognise a
repetition.
"""

import json

from api.wire.presenter import job_view
from shared.jobs import Job
from shared.messages import choose_language


def message_id(job: Job) -> str:
    """The id of a finished job's only message."""
    return f"job_{job.id}_{job.state}"


def message(job: Job) -> str:
    """The body, as JSON text, in the language of the job's submitter."""
    assert job.finished_at is not None
    # Without the outcome of earlier attempts, so that every attempt has the same content.
    seen = job.model_copy(update={"webhook": None})
    body = {
        "type": f"job.{job.state}",
        "timestamp": job.finished_at.isoformat().replace("+00:00", "Z"),
        "data": job_view(seen, choose_language(job.spec.language)).model_dump(
            mode="json", warnings=False
        ),
    }
    return json.dumps(body, ensure_ascii=False)
