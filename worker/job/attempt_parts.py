"""What attempts at jobs need: engine, ledger, guards and so on, one set per worker."""

from dataclasses import dataclass

from shared.blobs import BlobStore
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from worker.engine.interface import Engine
from worker.guards.panel import Guards
from worker.job.enlarging import Enlargements
from worker.job.history import History
from worker.job.lora_choice import Chooser
from worker.job.probe import Probe
from worker.job.provenance import Seal, unsealed
from worker.job.pulse import Pulse


@dataclass(frozen=True, kw_only=True)
class AttemptParts:
    """Shared by all attempts of a worker; safe to use from several threads."""

    engine: Engine
    store: JobStore
    blobs: BlobStore
    history: History
    chooser: Chooser
    enlargements: Enlargements
    guards: Guards
    strikes: Strikes
    failures: LoraFailures
    pulse: Pulse
    probe: Probe
    seal: Seal = unsealed
