"""A caller's jobs, page by page, without gaps or repetitions.

Owns the cursor: the millisecond of a page's last job, and how many jobs of that millisecond have
already been shown.
"""

from shared.jobs import Job
from shared.ledger.store import JobStore


def list_jobs(
    store: JobStore, client: str, cursor: str | None, limit: int
) -> tuple[list[Job], str | None]:
    """One page, newest first, and the cursor of the next page; None on the last page."""
    before_ms, shown = _position(cursor)
    found = store.jobs_of(client, before_ms, limit + shown + 1)
    rest = found[shown:]
    page = rest[:limit]
    return page, _cursor(page, cursor) if len(rest) > limit else None


def _position(cursor: str | None) -> tuple[int | None, int]:
    if cursor is None:
        return None, 0
    milliseconds, _, shown = cursor.partition("-")
    return int(milliseconds) + 1, int(shown)


def _cursor(page: list[Job], before: str | None) -> str:
    last = _created_ms(page[-1])
    shown = sum(_created_ms(job) == last for job in page)
    # If a millisecond has more jobs than a page, those of earlier pages count too.
    if before is not None and before.startswith(f"{last}-"):
        shown += int(before.partition("-")[2])
    return f"{last}-{shown}"


def _created_ms(job: Job) -> int:
    return round(job.created_at.timestamp() * 1000)
