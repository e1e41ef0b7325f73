"""Judgements of files with weights, each made once in a run: its tests start hundreds of gateways
over the same files, and every one would judge them again.

Remembered by all that a judgement depends on: the file as the catalogue's own records know it
(inode, size, both times), its name, and the networks of the bases that it is looked up in.
"""

import os
from pathlib import Path

import pytest

from shared.loras import inspection as loras
from shared.loras.files import FileKey, key_of
from shared.loras.modules import Modules
from shared.upscalers import inspection as upscalers

_LORAS: dict[tuple[str, FileKey], list[tuple[loras.Bases, loras.Inspection]]] = {}
_UPSCALERS: dict[tuple[str, FileKey], upscalers.Inspection] = {}


def remember_judgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both catalogues ask this module from now on."""
    monkeypatch.setattr("shared.loras.catalog.inspect_file", _judge_lora)
    monkeypatch.setattr("shared.upscalers.catalog.inspect_file", _judge_upscaler)


def _judge_lora(
    path: Path, stem: str, read: loras.ReadBody, bases: loras.Bases
) -> loras.Inspection:
    known = _LORAS.setdefault((stem, key_of(os.lstat(path))), [])
    for before, judged in known:
        if _are_equal(before, bases):
            return judged
    judged = loras.inspect_file(path, stem, read, bases)
    known.append((bases, judged))
    return judged


def _judge_upscaler(path: Path, read: upscalers.ReadBody) -> upscalers.Inspection:
    key = (path.suffix, key_of(os.lstat(path)))
    if key not in _UPSCALERS:
        _UPSCALERS[key] = upscalers.inspect_file(path, read)
    return _UPSCALERS[key]


def _are_equal(one: loras.Bases, other: loras.Bases) -> bool:
    return one.keys() == other.keys() and all(
        _have_equal_parts(one[base], other[base]) for base in one
    )


def _have_equal_parts(one: Modules, other: Modules) -> bool:
    return one is other or one._parts == other._parts
