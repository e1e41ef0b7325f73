"""Reads a safetensors header: the fixed grammar of the format, and nothing beyond it.

A header is 8 bytes of little-endian length and a JSON object of tensors, and of strings under
`__metadata__` (https://github.com/huggingface/safetensors#format). The grammar is so narrow that
bounded patterns over the bytes read it in constant memory per tensor, while a general JSON parser
would build whatever nesting an attacker writes. Knows nothing of the tensors' purpose.
"""

import json
import re
from typing import BinaryIO, NamedTuple

from shared.loras.reasons import Reason, clean, refused
from shared.loras.unusual_entry import read_entry

MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 20_000
MAX_METADATA_KEYS = 1024
MAX_METADATA_VALUE_BYTES = 4 * 2**20
# Counts of each tag in a training set, which grow with it.
LARGE_METADATA = frozenset({"ss_tag_frequency", "ss_datasets"})

_METADATA = "__metadata__"
_PREFIX_BYTES = 8
_PICKLE_OPENINGS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_GGUF, _LFS_POINTER, _PAGES = b"GGUF", b"version ", (b"<!doctyp", b"<html", b"<?xml")
_ARCHIVE_OPENINGS = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"BZh")

# Possessive quantifiers throughout: a match never backtracks, so time and memory stay linear.
_SPACE = rb"[ \t\r\n]*+"
_INT = rb"(?:0|[1-9][0-9]{0,18})"
_DTYPE = _SPACE.join((rb'"dtype"', rb":", rb'"([A-Z0-9_]{1,16})"'))
_INTS = rb"(" + _INT + rb"(?:" + _SPACE + rb"," + _SPACE + _INT + rb"){0,7})?"
_SHAPE = _SPACE.join((rb'"shape"', rb":", rb"\[", _INTS, rb"\]"))
_OFFSETS = _SPACE.join(
    (rb'"data_offsets"', rb":", rb"\[", rb"(" + _INT + rb")", rb",", rb"(" + _INT + rb")", rb"\]")
)
_FIELD = rb"(?:" + rb"|".join((_DTYPE, rb"()" + _SHAPE, _OFFSETS)) + rb")"
_FIELDS = rb"(?:" + _SPACE + _FIELD + _SPACE + rb"(?:,(?=[ \t\r\n]*+\")|(?=\}))){3}"
_END = _SPACE + rb"([,}])"
_CLOSING = re.compile(_END)
_NAME = _SPACE + rb'("(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu]){1,4096}+")' + _SPACE + rb":" + _SPACE
_NAMED = re.compile(_NAME)
_TENSOR = re.compile(_NAME + rb"\{" + _FIELDS + rb"\}" + _END)
_OPENING = re.compile(rb"\{" + _SPACE)
_NULL = re.compile(rb"null" + _END)
_STRING = rb'("(?:[^"\\\x00-\x1f]++|\\["\\/bfnrtu])*+")'
_PAIR = re.compile(_SPACE + _STRING + _SPACE + rb":" + _SPACE + _STRING + _END)
# A value that is not a string, which the library refuses too.
_BAD_PAIR = re.compile(_SPACE + _STRING + _SPACE + rb":" + _SPACE + rb"(?:[-0-9tfn\[{])")
_CLOSE = re.compile(rb"\}" + _END)
_EMPTY = re.compile(rb"\{" + _SPACE + rb"\}" + _SPACE + rb"$")
_PADDING = re.compile(_SPACE + rb"\Z")


class Tensor(NamedTuple):
    """One tensor's place: bytes `begin` to `end` of the body, `shape` in elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """The contents of a header: tensors in their order, metadata unchanged, and where the body
    starts.
    """

    tensors: list[Tensor]
    metadata: dict[str, str]
    body_start: int


def read_header(file: BinaryIO, file_size: int) -> Header:
    """Reads the header of an open file of `file_size` bytes.

    Raises Refused, and nothing else, for everything that does not follow the format.
    """
    prefix = file.read(_PREFIX_BYTES)
    if len(prefix) < _PREFIX_BYTES:
        raise refused(Reason.FILE_TOO_SHORT)
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        _refuse_foreign(prefix)
        raise refused(Reason.HEADER_TOO_LONG, length=length, limit=MAX_HEADER_BYTES)
    if length > file_size - _PREFIX_BYTES:
        raise refused(Reason.HEADER_BEYOND_FILE, length=length)
    raw = file.read(length)
    if len(raw) < length:
        raise refused(Reason.HEADER_BEYOND_FILE, length=length)
    if not raw.startswith(b"{"):
        _refuse_foreign(prefix)
        raise refused(Reason.LEADING_SPACE)
    tensors, metadata = _Parser(raw).parse()
    return Header(tensors, metadata, _PREFIX_BYTES + length)


def refuse_other_formats(prefix: bytes) -> None:
    """Names formats of weights that no reader here supports, and what stands in for a file."""
    if prefix.startswith(_GGUF):
        raise refused(Reason.GGUF)
    if prefix == _LFS_POINTER:
        raise refused(Reason.LFS_POINTER)
    if prefix.lower().startswith(_PAGES):
        raise refused(Reason.NOT_SAFETENSORS)


def _refuse_foreign(prefix: bytes) -> None:
    """Names well-known formats that are not safetensors."""
    refuse_other_formats(prefix)
    if prefix.startswith(_PICKLE_OPENINGS):
        raise refused(Reason.EXECUTABLE, what="Python pickle")
    if prefix.startswith(_ARCHIVE_OPENINGS):
        raise refused(Reason.EXECUTABLE, what="compressed archive (as a torch checkpoint is)")
    if prefix.isascii() and prefix.decode("ascii").replace("\n", " ").isprintable():
        raise refused(Reason.NOT_SAFETENSORS)


def _unescaped(literal: str) -> str:
    """A string literal's text. Raises ValueError, also for half of a surrogate pair, which the
    library refuses.
    """
    text = str(json.loads(literal))
    if "\\u" in literal:
        text.encode("utf-8")
    return text


class _Parser:
    """One pass over the bytes of a header; lives for one call of `parse`."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 1
        self._tensors: dict[str, Tensor] = {}
        self._metadata: dict[str, str] | None = None

    def parse(self) -> tuple[list[Tensor], dict[str, str]]:
        if _EMPTY.match(self._raw):
            raise refused(Reason.NO_TENSORS)
        while self._member() == b",":
            pass
        if not _PADDING.match(self._raw, self._at):
            raise self._malformed()
        if not self._tensors:
            raise refused(Reason.NO_TENSORS)
        return list(self._tensors.values()), self._metadata or {}

    def _member(self) -> bytes:
        """Reads one member and the comma or brace after it."""
        found = _TENSOR.match(self._raw, self._at)
        if not found or None in found.group(2, 3, 5):
            return self._read_unusual()
        _, dtype, _, shape, begin, end, closing = found.groups()
        sizes = tuple(map(int, shape.split(b","))) if shape else ()
        name = self._text(*found.span(1))
        if name == _METADATA:
            return self._read_unusual()
        self._add(Tensor(name, dtype.decode("ascii"), sizes, int(begin), int(end)))
        self._at = found.end()
        return bytes(closing)

    def _read_unusual(self) -> bytes:
        """Reads the metadata, or a tensor with other fields or escapes. What cannot be read is
        named.
        """
        named = _NAMED.match(self._raw, self._at)
        if not named:
            raise self._malformed()
        name = self._text(*named.span(1))
        if name == _METADATA:
            return self._read_metadata(named.end())
        entry = read_entry(self._raw, named.end())
        closing = _CLOSING.match(self._raw, named.end() + entry.size) if entry else None
        if not entry or not closing:
            raise self._malformed(clean(name, 40))
        self._add(Tensor(name, *entry[:4]))
        self._at = closing.end()
        return closing[1]

    def _add(self, tensor: Tensor) -> None:
        if tensor.name in self._tensors:
            raise refused(Reason.DUPLICATE_KEY, name=clean(tensor.name))
        if len(self._tensors) == MAX_TENSORS:
            raise refused(Reason.TOO_MANY_TENSORS, limit=MAX_TENSORS)
        self._tensors[tensor.name] = tensor

    def _read_metadata(self, begin: int) -> bytes:
        """Reads the metadata's value, an object of strings or null, which starts at `begin`."""
        if self._metadata is not None:
            raise refused(Reason.DUPLICATE_KEY, name=_METADATA)
        self._metadata = {}
        closed = _NULL.match(self._raw, begin) or self._read_strings(begin, self._metadata)
        if not closed:
            raise self._malformed(_METADATA)
        self._at = closed.end()
        return bytes(closed[1])

    def _read_strings(self, begin: int, into: dict[str, str]) -> re.Match[bytes] | None:
        """Reads an object of strings; None if there is none. Returns the match of its end."""
        opening = _OPENING.match(self._raw, begin)
        if not opening:
            return None
        self._at = opening.end()
        closed = _CLOSE.match(self._raw, self._at)
        if closed:
            return closed
        while self._pair(into) == b",":
            pass
        return _CLOSE.match(self._raw, self._at - 1)

    def _pair(self, into: dict[str, str]) -> bytes:
        found = _PAIR.match(self._raw, self._at)
        if not found:
            raise self._bad_pair()
        if len(into) == MAX_METADATA_KEYS:
            raise refused(Reason.METADATA_TOO_LONG, limit=MAX_METADATA_KEYS, unit="keys")
        key = self._text(*found.span(1))
        if key in into:
            raise refused(Reason.DUPLICATE_KEY, name=clean(key))
        limit = MAX_HEADER_BYTES if key in LARGE_METADATA else MAX_METADATA_VALUE_BYTES
        into[key] = self._text(*found.span(2), limit, key)
        self._at = found.end()
        return found[3]

    def _text(
        self, begin: int, end: int, limit: int = MAX_METADATA_VALUE_BYTES, key: str = ""
    ) -> str:
        """Decodes the string literal in `raw[begin:end]`, including its quotes; a complaint names
        the `key` whose value it is.
        """
        if end - begin > limit:
            raise refused(Reason.METADATA_TOO_LONG, limit=limit, unit="bytes in one string")
        try:
            text = str(memoryview(self._raw)[begin:end], "utf-8")
            return _unescaped(text) if "\\" in text else text[1:-1]
        except ValueError as error:
            raise self._malformed(clean(key, 40)) from error

    def _bad_pair(self) -> Exception:
        """The complaint about a member of the metadata; its key is named if it is readable."""
        found = _BAD_PAIR.match(self._raw, self._at)
        return (
            self._malformed(clean(self._text(*found.span(1)), 40)) if found else self._malformed()
        )

    def _malformed(self, key: str = "") -> Exception:
        where = f" ({key})" if key else ""
        return refused(Reason.MALFORMED_HEADER, position=self._at, where=where)
