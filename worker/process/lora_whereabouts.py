"""Where the files are that a job needs and this worker's folder lacked.

Owns the order: look again (a bucket may have them), then ask the other workers' heartbeats.
"""

from shared.ledger.fleet import Fleet, announced
from shared.loras.catalog import Catalog
from shared.loras.sync import LoraSync
from shared.params import LoraRef
from worker.job.runner import Where


class Whereabouts:
    """Answers for the jobs of one worker. Called from threads."""

    def __init__(
        self, catalog: Catalog, sync: LoraSync | None, fleet: Fleet, worker_id: str
    ) -> None:
        self._catalog = catalog
        self._sync = sync
        self._fleet = fleet
        self._worker_id = worker_id

    def own(self) -> list[str]:
        """The usable files of this worker, as it announces them."""
        return announced(
            entry.sha256 for entry in self._catalog.entries() if entry.state == "available"
        )

    def of(self, loras: list[LoraRef], base: str) -> Where:
        """Where these files are. Raises StoreUnavailable."""
        needed = set(announced(lora.sha256 for lora in loras))
        if self._sync is not None and not needed <= set(self.own()):
            self._sync.sync()
        if not needed <= set(self.own()):
            self._catalog.scan()
        if needed <= set(self.own()):
            return Where.HERE
        for worker in self._fleet.workers():
            others = worker.base == base and worker.id != self._worker_id
            if others and needed <= set(worker.loras):
                return Where.ELSEWHERE
        return Where.NOWHERE
