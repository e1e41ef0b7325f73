"""Keys of what is kept on disk and must fit exactly to be used."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256


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
