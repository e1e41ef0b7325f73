"""What is kept on disk and must fit exactly to be used: its keys, the device as a part of them, and
folders written whole.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import torch


@dataclass(frozen=True)
class DiskKey:
    """Its subclasses' fields are everything that must be equal."""

    @property
    def text(self) -> str:
        """The key as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """The key's folder name."""
        return sha256(self.text.encode()).hexdigest()[:24]


def device_name(device: torch.device) -> str:
    """The device's model: what was built for one GPU does not run on another."""
    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} sm_{major}{minor}"


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name `target` at the end: one that is found under
    that name is complete. After an error nothing is left of it.
    """
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
