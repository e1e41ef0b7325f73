"""What a guard found in a result."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One finding, in words. Only one that `is_sure` justifies refusing the picture."""

    text: str
    is_sure: bool = True
