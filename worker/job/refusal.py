"""What follows when a guard has refused a result: strikes, and a copy for the operator.

Owns which LoRAs it counts against. Knows nothing of how guards decide.
"""

import structlog

from shared.errors import RetouchError
from shared.jobs import Claim
from shared.ledger.leftovers import refused_blob
from shared.loras.shipped import is_shipped
from shared.params import JobParams, LoraRef
from worker.guards.panel import Verdict
from worker.job.attempt_parts import AttemptParts
from worker.job.outputs import ResultFile

logger = structlog.get_logger(__name__)

NETWORK = frozenset({"mark"})


def count_strikes(parts: AttemptParts, claim: Claim, params: JobParams, verdict: Verdict) -> None:
    """Counts certain findings against the job's LoRAs. Raises StoreUnavailable, StorageFull."""
    loras = blamed(params.loras, verdict)
    parts.strikes.count(loras, claim.spec, ", ".join(verdict.against))


def blamed(loras: list[LoraRef], verdict: Verdict) -> list[LoraRef]:
    """The LoRAs that these findings count against.

    The watermark network is no witness against LoRAs that ship: they were trained by this project
    on photos without marks, so what it sees in their results is a false alarm.
    """
    if not verdict.against:
        return []
    if not NETWORK.issuperset(verdict.against):
        return loras
    return [lora for lora in loras if not is_shipped(lora.sha256)]


def keep_refused(parts: AttemptParts, claim: Claim, file: ResultFile) -> str | None:
    """Stores the refused picture as the result would have been; its blob, or None without room."""
    blob = refused_blob(claim.spec.id, claim.epoch, file.format)
    try:
        parts.blobs.put(blob, file.data)
    except RetouchError as error:
        logger.warning("refused picture not kept", job=claim.spec.id, reason=str(error))
        return None
    return blob
