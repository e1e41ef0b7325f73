"""Which checkpoints are on this machine: in the models folder and in the hub's cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.bases import family_of
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.folder import SINGLE_FILES
from shared.checkpoints.formats import FOREIGN_MODELS
from shared.checkpoints.judgement import complaint_about, read_facts
from shared.checkpoints.places import cached_snapshot, hub_cache


@dataclass(frozen=True)
class Held:
    """A checkpoint: its value for RETOUCH_BASE_MODEL, its family, its size, and any complaint."""

    name: str
    family: str
    size_bytes: int
    complaint: str | None


def inventory(models: Path) -> list[Held]:
    """All checkpoints of a folder of models, then those of the hub's cache, by name."""
    local = {str(place): place for place in _in_folder(models)}
    cached = dict(_in_cache())
    return [_held(name, place) for name, place in sorted(local.items()) + sorted(cached.items())]


def _in_folder(models: Path) -> Iterator[Path]:
    if not models.is_dir():
        return
    for place in models.iterdir():
        is_file = place.is_file() and place.suffix.lower() in (*SINGLE_FILES, *FOREIGN_MODELS)
        if is_file or (place / "model_index.json").is_file():
            yield place


def _in_cache() -> Iterator[tuple[str, Path]]:
    for kept in hub_cache().glob("models--*--*"):
        hub_id = "/".join(kept.name.removeprefix("models--").split("--", 1))
        snapshot = cached_snapshot(hub_id)
        if snapshot is not None:
            yield hub_id, snapshot


def _held(name: str, place: Path) -> Held:
    try:
        facts = read_facts(place)
    except BadCheckpoint as error:
        return Held(name, "unknown", _size(place), str(error))
    return Held(name, family_of(facts).id, _size(place), complaint_about(facts))


def _size(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
