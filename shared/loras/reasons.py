"""Every reason why a LoRA is quarantined or does not fit, with its verdict and its facts.

The messages are in reasons.json, in English and Chinese, like those of errors in
shared/messages.json; texts for their facts are under `_facts` there. Knows nothing of files.
"""

import errno
import json
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from shared.loras.entry import LoraState


class Reason(StrEnum):
    """Every reason; its value is its code."""

    # Structure: quarantined, and a release would not make the file loadable.
    WRONG_SUFFIX = "wrong_suffix"
    ARCHIVE = "archive"
    UNREADABLE = "unreadable"
    LINK_OUTSIDE = "link_outside"
    STILL_CHANGING = "still_changing"
    EXECUTABLE = "executable"
    NOT_SAFETENSORS = "not_safetensors"
    GGUF = "gguf"
    LFS_POINTER = "lfs_pointer"
    FILE_TOO_LARGE = "file_too_large"
    FILE_TOO_SHORT = "file_too_short"
    HEADER_TOO_LONG = "header_too_long"
    HEADER_BEYOND_FILE = "header_beyond_file"
    LEADING_SPACE = "leading_space"
    MALFORMED_HEADER = "malformed_header"
    DUPLICATE_KEY = "duplicate_key"
    METADATA_TOO_LONG = "metadata_too_long"
    TOO_MANY_TENSORS = "too_many_tensors"
    NO_TENSORS = "no_tensors"
    UNKNOWN_DTYPE = "unknown_dtype"
    ZERO_SIZE_TENSOR = "zero_size_tensor"
    SIZE_MISMATCH = "size_mismatch"
    OFFSETS_OVERLAP = "offsets_overlap"
    OFFSETS_GAP = "offsets_gap"
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    NOT_FINITE = "not_finite"
    RANK_TOO_HIGH = "rank_too_high"
    FACTORS_DISAGREE = "factors_disagree"
    UNUSABLE_NAME = "unusable_name"
    # For enlargers only.
    UNUSABLE_UPSCALER_NAME = "unusable_upscaler_name"
    UNSAFE_PICKLE = "unsafe_pickle"
    NOT_A_CHECKPOINT = "not_a_checkpoint"
    STORAGE_MISSING = "storage_missing"
    # Content, name and strikes: quarantined until a person releases the file by its sha256.
    MARKUP = "markup"
    ADDRESS = "address"
    CONTACT = "contact"
    ENCODED_BLOB = "encoded_blob"
    CONTROL_CHARACTERS = "control_characters"
    NAME_CONTRADICTS_SHAPES = "name_contradicts_shapes"
    SUSPENDED = "suspended"
    # Sound, but not usable in this service.
    OTHER_BASE = "other_base"
    UNKNOWN_BASE = "unknown_base"
    AMBIGUOUS_BASE = "ambiguous_base"
    UNCARRIED_KIND = "uncarried_kind"
    UNCARRIED_DTYPE = "uncarried_dtype"
    UNKNOWN_NAMING = "unknown_naming"
    UNREAD_NAMING = "unread_naming"
    FOREIGN_TENSORS = "foreign_tensors"
    BASE_CHECKPOINT = "base_checkpoint"
    OTHER_MODEL = "other_model"
    UNSERVED_RESTORER = "unserved_restorer"
    UNKNOWN_NETWORK = "unknown_network"
    MISSING_TENSOR = "missing_tensor"
    WRONG_SHAPE = "wrong_shape"
    FOREIGN_TENSORS_HERE = "foreign_tensors_here"
    SAME_NAME = "same_name"
    NO_SUCH_MODULE = "no_such_module"
    OTHER_SHAPE = "other_shape"
    EMBEDDING = "embedding"
    FAILED_ON_WORKER = "failed_on_worker"


_UNFIT = frozenset(
    {
        Reason.OTHER_BASE,
        Reason.UNKNOWN_BASE,
        Reason.AMBIGUOUS_BASE,
        Reason.UNCARRIED_KIND,
        Reason.UNCARRIED_DTYPE,
        Reason.UNKNOWN_NAMING,
        Reason.UNREAD_NAMING,
        Reason.FOREIGN_TENSORS,
        Reason.BASE_CHECKPOINT,
        Reason.OTHER_MODEL,
        Reason.UNSERVED_RESTORER,
        Reason.UNKNOWN_NETWORK,
        Reason.MISSING_TENSOR,
        Reason.WRONG_SHAPE,
        Reason.FOREIGN_TENSORS_HERE,
        Reason.SAME_NAME,
        Reason.NO_SUCH_MODULE,
        Reason.OTHER_SHAPE,
        Reason.EMBEDDING,
        Reason.FAILED_ON_WORKER,
    }
)
_RELEASABLE = frozenset(
    {
        Reason.MARKUP,
        Reason.ADDRESS,
        Reason.CONTACT,
        Reason.ENCODED_BLOB,
        Reason.CONTROL_CHARACTERS,
        Reason.NAME_CONTRADICTS_SHAPES,
        Reason.SUSPENDED,
    }
)
# Findings that a file still being written may have.
_MAY_GROW = frozenset(
    {Reason.FILE_TOO_SHORT, Reason.HEADER_BEYOND_FILE, Reason.TRUNCATED, Reason.STILL_CHANGING}
)


@cache
def _sentences() -> dict[str, dict[str, str]]:
    text = files("shared.loras").joinpath("reasons.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, str]] = json.loads(text)
    return loaded


def _in_chinese(fact: str | int) -> str | int:
    """A fact with our own texts in Chinese; names and foreign text are unchanged."""
    words = _sentences()["_facts"]
    return words.get(str(fact)) or str(fact).replace(" or ", " 或 ")


class Finding(NamedTuple):
    """One reason with its facts, in text that is safe to show."""

    reason: Reason
    facts: dict[str, str | int]

    @property
    def en(self) -> str:
        """The message in English."""
        return _sentences()[self.reason]["en"].format_map(self.facts)

    @property
    def zh(self) -> str:
        """The message in Chinese."""
        facts = {name: _in_chinese(fact) for name, fact in self.facts.items()}
        return _sentences()[self.reason]["zh"].format_map(facts)

    @property
    def state(self) -> LoraState:
        """The state of a LoRA with this finding alone."""
        unfit = self.reason in _UNFIT
        return LoraState.INCOMPATIBLE if unfit else LoraState.QUARANTINED

    @property
    def may_grow(self) -> bool:
        """Whether the file may only be incomplete so far."""
        return self.reason in _MAY_GROW

    @property
    def releasable(self) -> bool:
        """Whether a person may release the file by its sha256."""
        return self.reason in _RELEASABLE


class Refused(Exception):
    """Raised when a file fails its preflight; its finding is the only argument.

    Caught where the file is judged: it becomes an entry's reason and never leaves this package.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def refused(reason: Reason, **facts: str | int) -> Refused:
    """The exception for a reason and its facts."""
    return Refused(Finding(reason, facts))


def unreadable(error: OSError) -> Finding:
    """Why a file could not be opened. Opening follows no link, so a link that remains is one out of
    its folder.
    """
    if error.errno == errno.ELOOP:
        return Finding(Reason.LINK_OUTSIDE, {})
    return Finding(Reason.UNREADABLE, {"why": error.strerror or type(error).__name__})


def clean(text: str, limit: int = 80) -> str:
    """Foreign text made safe to show: printable characters only, truncated."""
    shown = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
