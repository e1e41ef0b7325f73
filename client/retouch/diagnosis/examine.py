"""All checks of this machine, in the order in which their findings should be fixed."""

from collections.abc import Iterator

from retouch.diagnosis import machine, models, software
from retouch.diagnosis.finding import Finding
from shared.settings import Settings

LOOKS = (
    software.python,
    software.packages,
    software.torch,
    software.device,
    machine.memory,
    machine.disk,
    machine.store,
    machine.blobs,
    models.base,
    models.loras,
    machine.port,
)


def examine(settings: Settings) -> Iterator[Finding]:
    """Yields one finding after the other; some take seconds."""
    for look in LOOKS:
        yield look(settings)
