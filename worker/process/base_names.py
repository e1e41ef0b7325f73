"""One name, one checkpoint: a worker does not start under a name that others use for other weights.

A job of a killed worker goes to another one of the same base, whose picture must be the same.
"""

import time

import structlog

from shared.checkpoints.facts import BadCheckpoint
from shared.errors import StoreUnavailable
from shared.ledger.fleet import Fleet

LOOK_SECONDS = 0.5

logger = structlog.get_logger(__name__)


def reserve_base(fleet: Fleet, base: str, fingerprint: str) -> None:
    """Reserves the name of a base for these weights. A name whose workers are gone becomes free
    after some seconds. Raises BadCheckpoint if a living worker serves other weights under it.
    """
    while True:
        try:
            other = fleet.reserve(base, fingerprint)
            if other is None:
                return
            _refuse_if_alive(fleet, base, fingerprint, other)
        except StoreUnavailable as error:
            logger.warning("waiting for the store", reason=str(error))
        else:
            logger.warning("waiting for the name of a base", base=base)
        time.sleep(LOOK_SECONDS)


def _refuse_if_alive(fleet: Fleet, base: str, own: str, other: str) -> None:
    for worker in fleet.workers():
        if (worker.base, worker.fingerprint) == (base, other):
            raise BadCheckpoint(
                f"another worker on {worker.host} serves '{base}' with other weights (fingerprint "
                f"{other}, here {own}). Give this checkpoint's file or folder another name, or use "
                "the same file for both"
            )
