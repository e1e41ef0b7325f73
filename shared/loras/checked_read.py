"""Reading a LoRA's bytes for use: exactly the file that was checked, or an error.

Between the catalogue's look and the worker's load a file can be replaced. What is returned here
is the very memory whose digest was compared, so nothing can slip in between.
"""

import hashlib
import os

from shared.errors import LoraChanged
from shared.loras.entry import LoraEntry
from shared.loras.files import open_file


def read_checked(entry: LoraEntry) -> bytes:
    """The bytes of an entry's file.

    Raises LoraChanged when the file is gone or is no longer the one that was checked.
    """
    try:
        data = _read_exactly(entry)
    except OSError as error:
        raise LoraChanged(f"The LoRA '{entry.name}' was removed or cannot be read.") from error
    if data is None or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise LoraChanged(f"The LoRA '{entry.name}' was replaced after it was checked.")
    return data


def _read_exactly(entry: LoraEntry) -> bytes | None:
    """The file's bytes; None at once when its size is not the entry's."""
    with open_file(entry.path) as file:
        if os.fstat(file.fileno()).st_size != entry.size_bytes:
            return None
        return file.read()
