"""What a webhook says: the event's name, its time, and the job as its owner sees it.

Owns the message's id, which is the same for every try, so that a receiver can tell a repetition.
"""

import json

from api.wire.presenter import job_view
from shared.jobs import Job
from shared.messages import choose_language


def message_id(job: Job) -> str:
    """The id of the one message that a finished job has."""
    return f"job_{job.id}_{job.state}"


def message(job: Job) -> str:
    """The body, as JSON text, in the language of whoever submitted the job."""
    assert job.finished_at is not None
    # Without what became of earlier tries, so that every try says the same.
    seen = job.model_copy(update={"webhook": None})
    body = {
        "type": f"job.{job.state}",
        "timestamp": job.finished_at.isoformat().replace("+00:00", "Z"),
        "data": job_view(seen, choose_language(job.spec.language)).model_dump(
            mode="json", warnings=False
        ),
    }
    return json.dumps(body, ensure_ascii=False)
