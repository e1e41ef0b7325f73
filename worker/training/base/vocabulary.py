"""Makes the small tokenizer of the embedded base: every byte, and whole words for its own prompts.

Owns vocabulary and merges in CLIP's format. Any text can be encoded; words outside the list are
encoded letter by letter.
"""

import json
from pathlib import Path

from transformers import CLIPTokenizer

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def write_tokenizer(words: list[str], folder: Path) -> CLIPTokenizer:
    """Saves the tokenizer with vocab.json and merges.txt, which other readers of CLIP need."""
    vocabulary, merges = build_vocabulary(words)
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=merges, pad_token=END, model_max_length=LENGTH
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return tokenizer


def build_vocabulary(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids and merges: each word is built letter by letter from its beginning."""
    alphabet = [_byte_letter(byte) for byte in range(256)]
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        built = word[0]
        for letter in [*word[1:-1], word[-1] + END_OF_WORD][: len(word) - 1]:
            merges[built, letter] = None
            built += letter
    tokens += dict.fromkeys("".join(pair) for pair in merges)
    tokens += [START, END]
    return {token: number for number, token in enumerate(tokens)}, list(merges)


def _byte_letter(byte: int) -> str:
    """The printable letter that byte-level BPE (GPT-2's) writes for a byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + [b for b in range(256) if b not in printable].index(byte))
