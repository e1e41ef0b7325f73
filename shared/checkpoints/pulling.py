"""Downloads a checkpoint by the hub's own downloader, which resumes and verifies checksums.

Owns the choice of files: safetensors before pickles, half precision before full, diffusers' layout
before a single file, and no files of other frameworks. `huggingface_hub` is installed with the
worker.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.places import is_hub_id

_SMALL = (".json", ".txt", ".model", ".md")
_WEIGHTS = (".safetensors", ".bin")
# Parts that are not used here; some are large.
_UNUSED = ("safety_checker/", "onnx/", "flax/", "openvino/")


def pull(hub_id: str, precision: str = "fp16") -> Path:
    """Downloads what a worker needs of a hub id; returns the folder or file to name as the base.

    `precision` "fp16" selects half-precision weights if there are any, "fp32" the others. Raises
    BadCheckpoint with advice.
    """
    if not is_hub_id(hub_id):
        raise BadCheckpoint(f"'{hub_id}' is not a hub id; a hub id is OWNER/NAME")
    names = choose_files(_listed(hub_id), precision)
    if not names:
        raise BadCheckpoint(f"'{hub_id}' has no model_index.json and no .safetensors checkpoint")
    folder = _fetched(hub_id, names)
    return folder if "model_index.json" in names else folder / names[0]


def choose_files(names: Iterable[str], precision: str) -> list[str]:
    """The files of a repository that form one checkpoint."""
    every = [name for name in names if not name.startswith(_UNUSED)]
    if "model_index.json" not in every:
        singles = [name for name in every if "/" not in name and name.endswith(".safetensors")]
        return _preferred(singles, precision)[:1]
    parts = [name for name in every if "/" in name and "non_ema" not in name]
    chosen = [name for name in every if name == "model_index.json"]
    chosen += [name for name in parts if name.endswith(_SMALL)]
    for part in sorted({str(PurePosixPath(name).parent) for name in parts}):
        inside = [name for name in parts if str(PurePosixPath(name).parent) == part]
        chosen += _weights(inside, precision)
    return chosen


def _weights(names: list[str], precision: str) -> list[str]:
    for suffix in _WEIGHTS:
        found = [name for name in names if name.endswith(suffix)]
        if found:
            return _preferred(found, precision)
    return []


def _preferred(names: list[str], precision: str) -> list[str]:
    """The files of the wanted precision, or all if there is only one."""
    halves = [name for name in names if "fp16" in name]
    wholes = [name for name in names if name not in halves]
    first, second = (halves, wholes) if precision == "fp16" else (wholes, halves)
    return first or second


def _listed(hub_id: str) -> list[str]:
    from huggingface_hub import HfApi

    try:
        return list(HfApi().list_repo_files(hub_id))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise BadCheckpoint(_explained(hub_id, error)) from error


def _fetched(hub_id: str, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=names))
    except Exception as error:
        raise BadCheckpoint(_explained(hub_id, error)) from error


def _explained(hub_id: str, error: Exception) -> str:
    """A message for any error of the hub's client or the disk."""
    kind = type(error).__name__
    if kind in ("RepositoryNotFoundError", "GatedRepoError", "RevisionNotFoundError"):
        return (
            f"the hub has no '{hub_id}' that may be read. Check the name; for one that asks for "
            "consent, accept its licence on its page and set HF_TOKEN"
        )
    if isinstance(error, OSError) and error.errno == 28:
        return f"the disk is full; '{hub_id}' continues where it stopped when there is space"
    return (
        f"the hub cannot be reached ({kind}: {error}). Without a network, copy the folder of the "
        "checkpoint to this machine and name it in RETOUCH_BASE_MODEL"
    )
