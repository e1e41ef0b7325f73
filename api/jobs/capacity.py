"""Whether there is room for one more job: in the queue, on the disk, and in the caller's share.

Owns for how long an answer counts. The ledger refuses a job too many in any case; asking before
spares its sender the upload.
"""

import math
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.access.shares import Shares
from api.intake.images import Images
from api.jobs.submission import Submissions

# With so much room an answer counts for a moment: no gateway fills it meanwhile.
AMPLE_JOBS = 200
AMPLE_BYTES = 4 * 2**30
REMEMBERED_SECONDS = 0.25


class Capacity:
    """Safe to share between threads."""

    def __init__(
        self,
        submissions: Submissions,
        images: Images,
        shares: Shares,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._submissions = submissions
        self._images = images
        self._shares = shares
        self._clock = clock
        self._ample_at = -math.inf

    async def check(self, caller: Caller) -> None:
        """Raises QueueFull, StorageFull, ShareTaken, StoreUnavailable."""
        was_ample = self._clock() - self._ample_at < REMEMBERED_SECONDS
        if not was_ample or self._shares.limits(caller):
            await run_in_threadpool(self._ask, caller)

    def _ask(self, caller: Caller) -> None:
        asked_at = self._clock()
        jobs, size = self._submissions.check_queue(), self._images.check_room()
        if jobs >= AMPLE_JOBS and (size is None or size >= AMPLE_BYTES):
            self._ample_at = asked_at
        self._shares.check(caller)
