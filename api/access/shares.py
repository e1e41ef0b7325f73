"""The share of one key: waiting and running jobs, and bytes of stored pictures.

Owns the error messages; the ledger counts. Callers without a key are limited only by the size of
the queue and the disk.
"""

from api.access.keys import Caller
from api.wire.sentence import Sentence
from shared.errors import RateLimited, StorageFull
from shared.ledger.store import JobStore
from shared.settings import Settings

JOBS_WAIT_SECONDS = 5


class ShareTaken(RateLimited):
    """Raised when a key has as many jobs as it may have at a time."""

    wait_seconds = JOBS_WAIT_SECONDS


class Shares:
    """The share of each key. Called from threads; every method raises StoreUnavailable."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._jobs = settings.jobs_per_key
        self._bytes = settings.bytes_per_key

    def check(self, caller: Caller) -> None:
        """Raises ShareTaken, StorageFull."""
        most = self.most_jobs(caller)
        if most and self._store.is_busy(caller.name, most):
            raise ShareTaken(
                Sentence(
                    f"{most} jobs of this key wait or run already",
                    f"这个密钥已有 {most} 个任务在等待或运行",
                )
            )
        if caller.is_known and self._bytes and self._store.kept_bytes(caller.name) >= self._bytes:
            gigabytes = f"{self._bytes / 2**30:.3g}"
            raise StorageFull(
                Sentence(
                    f"{gigabytes} GiB of this key's pictures are kept, the most there may be",
                    f"这个密钥保存的图片已达 {gigabytes} GiB 的上限",
                )
            )

    def limits(self, caller: Caller) -> bool:
        """Whether this caller has a share that can be taken."""
        return bool(self.most_jobs(caller) or (caller.is_known and self._bytes))

    def most_jobs(self, caller: Caller) -> int:
        """How many waiting and running jobs this caller may have; 0 means any number."""
        if not caller.is_known:
            return 0
        return self._jobs if caller.jobs is None else caller.jobs

    def keep(self, caller: Caller, more_bytes: int) -> None:
        """Counts a picture that is stored for this caller."""
        if caller.is_known:
            self._store.kept_bytes(caller.name, more_bytes)
