"""Files of other programs beside a LoRA: title, trigger words, base and scale, read with care.

Civitai's downloaders write `NAME.civitai.info`, LoRA managers `NAME.metadata.json` and
`NAME.cm-info.json`, AUTOMATIC1111 `NAME.json`. All are untrusted JSON: values in an unexpected
format are ignored, and nothing here ever removes a LoRA from the list.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shared.loras.folder import ADAPTER_CONFIG, Note
from shared.loras.reasons import clean
from shared.loras.scaling import KEPT

_MAX_BYTES = 2**20
_MAX_WORDS = 32
_LARGEST_SCALE = 5
_MAX_CHARACTERS = 64

Fields = Mapping[str, Any]


class Neighbour(NamedTuple):
    """What these files say of a LoRA; empty if nothing."""

    title: str = ""
    trigger_words: tuple[str, ...] = ()
    base: str = ""
    scale: float | None = None


def read_neighbours(notes: Sequence[Note], metadata: Fields) -> Neighbour:
    """The combined values of all of them; the first file with a value takes precedence, and the
    LoRA's own metadata comes last.
    """
    found = [
        _READERS[note.kind](fields)
        for note in notes
        if note.kind in _READERS and (fields := _read(note.path))
    ]
    found.append(_from_metadata(metadata))
    return Neighbour(
        next((one.title for one in found if one.title), ""),
        next((one.trigger_words for one in found if one.trigger_words), ()),
        next((one.base for one in found if one.base), ""),
        next((one.scale for one in found if one.scale is not None), None),
    )


def read_adapter_config(notes: Sequence[Note]) -> str:
    """The scales in PEFT's configuration beside the weights, as JSON in one format."""
    path = next((note.path for note in notes if note.kind == ADAPTER_CONFIG), None)
    fields = _read(path) if path else {}
    kept = {key: value for key, value in fields.items() if key in KEPT and value is not None}
    return json.dumps(kept, sort_keys=True) if kept else ""


def _read(path: Path) -> Fields:
    try:
        with path.open("rb") as file:
            loaded = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _from_civitai(fields: Fields) -> Neighbour:
    title = _text(_at(fields, "model", "name")) or _text(fields.get("name"))
    words = _words(fields.get("trainedWords"))
    return Neighbour(title, words, _text(fields.get("baseModel")))


def _from_manager(fields: Fields) -> Neighbour:
    words = _words(_at(fields, "civitai", "trainedWords")) or _words(fields.get("trainedWords"))
    title = _text(fields.get("model_name")) or _text(fields.get("file_name"))
    return Neighbour(title, words, _text(fields.get("base_model")))


def _from_matrix(fields: Fields) -> Neighbour:
    title = _text(fields.get("UserTitle")) or _text(fields.get("ModelName"))
    return Neighbour(title, _words(fields.get("TrainedWords")), _text(fields.get("BaseModel")))


def _from_automatic(fields: Fields) -> Neighbour:
    if "trainedWords" in fields:
        return _from_civitai(fields)
    base = _text(fields.get("sd version"))
    known = {"SD1": "sd_v1", "SD2": "sd_v2", "SDXL": "sdxl"}
    words = _words(_text(fields.get("activation text"), 1000).split(","))
    return Neighbour("", words, known.get(base, ""), _scale(fields.get("preferred weight")))


def _scale(value: object) -> float | None:
    """A preferred weight; AUTOMATIC1111 writes 0 for no preference."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < abs(value) <= _LARGEST_SCALE else None


def _from_metadata(metadata: Fields) -> Neighbour:
    words = _text(metadata.get("modelspec.trigger_phrase"), 1000).split(",")
    return Neighbour(_text(metadata.get("modelspec.title")), _words(words))


_READERS: dict[str, Callable[[Fields], Neighbour]] = {
    ".civitai.info": _from_civitai,
    ".metadata.json": _from_manager,
    ".cm-info.json": _from_matrix,
    ".json": _from_automatic,
}


def _at(fields: Fields, key: str, inner: str) -> object:
    found = fields.get(key)
    return found.get(inner) if isinstance(found, dict) else None


def _text(value: object, limit: int = 200) -> str:
    return clean(value.strip(), limit) if isinstance(value, str) else ""


def _words(value: object) -> tuple[str, ...]:
    """Trigger words, each once; an entry that contains a whole list is split."""
    texts: Iterable[object] = value if isinstance(value, list) else ()
    words = [word for text in texts for word in _apart(_text(text, 1000))]
    return tuple(dict.fromkeys(word for word in words if word))[:_MAX_WORDS]


def _apart(text: str) -> list[str]:
    whole = text.strip(" ,")
    if len(whole) <= _MAX_CHARACTERS:
        return [whole]
    return [word.strip()[:_MAX_CHARACTERS] for word in whole.split(",")]
