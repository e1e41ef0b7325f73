"""The devices of this machine, and the lease on the one that this worker uses.

Owns the names of devices: the name that torch uses, and the id that is the same in every container.
Queries torch only if there may be a GPU.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from shared.periodic import Periodic
from shared.settings import Settings
from worker.process.device_leases import RENEW_SECONDS, DeviceLeases

logger = structlog.get_logger(__name__)


def devices_of(settings: Settings) -> dict[str, str]:
    """Ids of the devices that this worker may use, each with its name. Empty if it needs no lease.

    A CPU can be shared, so `cpu` needs none.
    """
    listed = list(settings.devices)
    if settings.engine == "fake":
        return {name: name for name in listed}
    if settings.device not in ("auto", "cuda") and not settings.device.startswith("cuda:"):
        return {}
    found = _cuda_devices()
    if settings.device.startswith("cuda:"):
        listed = [settings.device]
    wanted = set(listed) or set(found.values())
    return {device: name for device, name in found.items() if name in wanted}


def _cuda_devices() -> dict[str, str]:
    import torch

    return {
        str(torch.cuda.get_device_properties(index).uuid): f"cuda:{index}"
        for index in range(torch.cuda.device_count())
    }


def is_beside_a_gpu(settings: Settings, device: str) -> bool:
    """Whether the worker runs on the CPU although an NVIDIA driver is present and the CPU was not
    requested: such a worker looks healthy but is slow for hours.
    """
    return device == "cpu" and settings.device == "auto" and shutil.which("nvidia-smi") is not None


@dataclass(frozen=True)
class HeldDevice:
    """The device of a worker: its name (None: as in the settings) and its lease's id (None: no
    lease, on a CPU or a shared device).
    """

    name: str | None
    id: str | None
    leases: DeviceLeases

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with this device."""
        return settings.model_copy(update={"device": self.name}) if self.name else settings


class DeviceKeeper:
    """A thread that renews the lease on a device. `start` and `stop` come in pairs.

    `on_loss` is called once if another worker holds the device: this process was away for too long,
    and a device must not have two engines.
    """

    def __init__(self, held: HeldDevice, on_loss: Callable[[], None]) -> None:
        self._held = held
        self._on_loss = on_loss
        self._loop = Periodic("device", self._renew, RENEW_SECONDS)

    def start(self) -> None:
        if self._held.id is not None:
            self._loop.start()

    def stop(self) -> None:
        self._loop.stop()

    def _renew(self) -> None:
        assert self._held.id is not None
        # It expired while the store was away, and no other worker took it: take it again.
        if self._held.leases.take([self._held.id]) is None:
            logger.error("another worker has this device", device=self._held.name)
            self._loop.stopping.set()
            self._on_loss()
