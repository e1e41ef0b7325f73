"""Names, types and shapes of a torch checkpoint's tensors, read from its structure alone.

A `.pth` is a zip archive with a pickle and one file per storage, or, from before torch 1.6, five
pickles followed by the storages. A pickle is a program; nothing here runs it. Its operations are
interpreted one by one with a table of those that a plain dictionary of tensors needs, as in torch's
own weights-only reader, and any other global is refused by name. Knows nothing of networks.
Sources: PEP 3154 and pickletools; torch/serialization.py.
"""

import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from shared.loras.reasons import Reason, clean, refused

MAX_PICKLE_BYTES = 8 * 2**20
MAX_MEMBERS = 20_000
MAX_OPERATIONS = 1_000_000
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
WRAPPERS = ("params_ema", "params", "state_dict", "model", "model_state_dict")

STORAGES = {
    "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
    "DoubleStorage": ("F64", 8), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1), "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}  # fmt: skip


class TensorInfo(NamedTuple):
    """One tensor: its type in safetensors' notation, its shape, and its storage."""

    dtype: str
    shape: tuple[int, ...]
    storage: str


class _Storage(NamedTuple):
    dtype: str
    item_bytes: int
    key: str
    length: int


class _Mark:
    """The beginning of a row on the pickle's stack."""


_MARK = _Mark()


def read_checkpoint(file: BinaryIO, size: int) -> dict[str, TensorInfo]:
    """The tensors of an open `.pth` of `size` bytes, without their wrapper. Raises Refused."""
    file.seek(0)
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    try:
        root = _read_zip(file, size) if is_zip else _read_legacy(file, size)
    except (zipfile.BadZipFile, EOFError, ValueError, struct.error, NotImplementedError) as error:
        raise refused(Reason.NOT_A_CHECKPOINT) from error
    return _tensors(root)


def _read_zip(file: BinaryIO, size: int) -> object:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise refused(Reason.TOO_MANY_TENSORS, limit=MAX_MEMBERS)
        for member in members:
            # torch stores without compression, so a compressed member was not written by torch.
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise refused(Reason.NOT_A_CHECKPOINT)
        sizes = {member.filename: member.file_size for member in members}
        if len(sizes) != len(members):
            raise refused(Reason.DUPLICATE_KEY, name="zip member")
        name = next((name for name in sizes if name.endswith("/data.pkl")), None)
        if name is None or sizes[name] > MAX_PICKLE_BYTES:
            raise refused(Reason.NOT_A_CHECKPOINT)
        folder = name.removesuffix("data.pkl")
        program = archive.read(name)
    known = {key.removeprefix(f"{folder}data/"): count for key, count in sizes.items()}
    return _Reader(lambda storage: known.get(storage.key, -1)).read(_operations(program))


def _read_legacy(file: BinaryIO, size: int) -> object:
    """Magic number, protocol, system information, the object, keys; then the storages."""
    head = file.read(min(size, MAX_PICKLE_BYTES))
    stream = _Stream(head)
    reader = _Reader(lambda _storage: size)
    magic = reader.read(stream.operations())
    if magic != LEGACY_MAGIC:
        raise refused(Reason.NOT_A_CHECKPOINT)
    for _ in range(2):
        reader.read(stream.operations())
    root = reader.read(stream.operations())
    keys = reader.read(stream.operations())
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or sorted(keys) != sorted(reader.storages):
        raise refused(Reason.NOT_A_CHECKPOINT)
    body = sum(8 + each.length * each.item_bytes for each in reader.storages.values())
    if stream.position + body != size:
        raise refused(Reason.NOT_A_CHECKPOINT)
    return root


class _Stream:
    """Several pickles, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def operations(self) -> Iterator[tuple[str, Any]]:
        rest = self._data[self.position :]
        for name, argument, place in _walk(rest):
            if name == "STOP":
                self.position += place + 1
                yield name, argument
                return
            yield name, argument


def _operations(program: bytes) -> Iterator[tuple[str, Any]]:
    for name, argument, _place in _walk(program):
        yield name, argument


def _walk(program: bytes) -> Iterator[tuple[str, Any, int]]:
    for count, (operation, argument, place) in enumerate(pickletools.genops(program)):
        if count > MAX_OPERATIONS:
            raise refused(Reason.NOT_A_CHECKPOINT)
        yield operation.name, argument, place or 0


class _Global(NamedTuple):
    """A global that the program requests by name."""

    module: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.module}.{self.name}"


def _allowed(wanted: _Global) -> _Global:
    """Raises Refused for a name that a dictionary of tensors does not need."""
    if wanted.text in ("collections.OrderedDict", *_REBUILDERS):
        return wanted
    if wanted.module == "torch" and wanted.name in STORAGES:
        return wanted
    raise refused(Reason.UNSAFE_PICKLE, name=clean(wanted.text))


class _Reader:
    """Interprets one pickle's operations; tensors become TensorInfo, and nothing is called."""

    def __init__(self, stored: Callable[[_Storage], int]) -> None:
        self._stored = stored
        self.storages: dict[str, _Storage] = {}
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, operations: Iterator[tuple[str, Any]]) -> Any:
        """The object that the program builds. Raises Refused, ValueError."""
        self._stack, self._memo = [], {}
        try:
            for name, argument in operations:
                if name == "STOP":
                    return self._stack.pop()
                self._follow(name, argument)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("an invalid pickle") from error
        raise ValueError("an incomplete pickle")

    def _follow(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _IGNORED:
            return
        else:
            rule = _RULES.get(name)
            if rule is None:
                raise refused(Reason.UNSAFE_PICKLE, name=name)
            rule(self, argument)

    def _row(self) -> list[Any]:
        """The items above the last mark; the mark is removed."""
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("a row without a beginning")
        row = self._stack[place + 1 :]
        del self._stack[place:]
        return row

    def _put(self, argument: Any) -> None:
        self._memo[argument] = self._stack[-1]

    def _memoize(self, _argument: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: Any) -> None:
        self._stack.append(self._memo[argument])

    def _tuple(self, _argument: Any) -> None:
        self._stack.append(tuple(self._row()))

    def _short_tuple(self, count: int) -> None:
        row = self._stack[-count:]
        del self._stack[-count:]
        self._stack.append(tuple(row))

    def _append(self, _argument: Any) -> None:
        value = self._stack.pop()
        self._list().append(value)

    def _appends(self, _argument: Any) -> None:
        row = self._row()
        self._list().extend(row)

    def _list(self) -> list[Any]:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("appends to something that is not a list")
        return target

    def _set_item(self, _argument: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set(self._stack[-1], [key, value])

    def _set_items(self, _argument: Any) -> None:
        row = self._row()
        self._set(self._stack[-1], row)

    def _set(self, target: Any, row: list[Any]) -> None:
        if not isinstance(target, dict):
            raise ValueError("sets a key of something that is not a dictionary")
        for key, value in zip(row[::2], row[1::2], strict=True):
            # Hashing nested tuples that share their parts can take forever.
            if not isinstance(key, (str, int)):
                raise ValueError("a key that is not a name")
            if key in target:
                raise refused(Reason.DUPLICATE_KEY, name=clean(str(key)))
            target[key] = value

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_allowed(_Global(module, name)))

    def _stack_global(self, _argument: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is not text")
        self._stack.append(_allowed(_Global(module, name)))

    def _persistent(self, _argument: Any) -> None:
        kind, storage, key, _place, count = self._stack.pop()[:5]
        known = kind == "storage" and isinstance(storage, _Global) and isinstance(key, str)
        if not known or not isinstance(count, int):
            raise ValueError("a persistent id that names no storage")
        dtype, item_bytes = STORAGES[storage.name]
        found = _Storage(dtype, item_bytes, key, count)
        if count < 0 or count * item_bytes > self._stored(found):
            raise refused(Reason.STORAGE_MISSING, name=clean(found.key))
        self.storages[found.key] = found
        self._stack.append(found)

    def _reduce(self, _argument: Any) -> None:
        arguments, called = self._stack.pop(), self._stack.pop()
        if not isinstance(called, _Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is not a global")
        if called.text == "collections.OrderedDict":
            if arguments:
                raise ValueError("an ordered dictionary that is not empty")
            self._stack.append({})
        else:
            self._stack.append(_REBUILDERS[called.text](arguments))

    def _build(self, _argument: Any) -> None:
        """A state dictionary's module versions, which are not needed."""
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise ValueError("a state for something that is not a dictionary")


def _rebuilt(arguments: tuple[Any, ...]) -> TensorInfo:
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    sizes = [offset, *shape, *stride]
    if len(shape) != len(stride) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise ValueError("a tensor of no size")
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if 0 in shape or last >= storage.length:
        raise refused(Reason.STORAGE_MISSING, name=clean(storage.key))
    return TensorInfo(storage.dtype, tuple(shape), storage.key)


_REBUILDERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
}
_LITERALS = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2"}
) | frozenset({"LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT"})
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": lambda: _MARK,
}  # fmt: skip
_IGNORED = frozenset({"PROTO", "FRAME"})
_RULES: dict[str, Callable[[_Reader, Any], None]] = {
    "BINPUT": _Reader._put,
    "LONG_BINPUT": _Reader._put,
    "PUT": _Reader._put,
    "MEMOIZE": _Reader._memoize,
    "BINGET": _Reader._get,
    "LONG_BINGET": _Reader._get,
    "GET": _Reader._get,
    "TUPLE": _Reader._tuple,
    "TUPLE1": lambda reader, _: reader._short_tuple(1),
    "TUPLE2": lambda reader, _: reader._short_tuple(2),
    "TUPLE3": lambda reader, _: reader._short_tuple(3),
    "APPEND": _Reader._append,
    "APPENDS": _Reader._appends,
    "SETITEM": _Reader._set_item,
    "SETITEMS": _Reader._set_items,
    "GLOBAL": _Reader._global,
    "STACK_GLOBAL": _Reader._stack_global,
    "BINPERSID": _Reader._persistent,
    "REDUCE": _Reader._reduce,
    "BUILD": _Reader._build,
}


def _tensors(root: object) -> dict[str, TensorInfo]:
    """The dictionary of tensors inside any wrapper."""
    for _ in range(3):
        if not isinstance(root, dict):
            raise refused(Reason.NOT_A_CHECKPOINT)
        inner = next((root[key] for key in WRAPPERS if isinstance(root.get(key), dict)), None)
        if inner is None:
            break
        root = inner
    assert isinstance(root, dict)
    found = {str(name): one for name, one in root.items() if isinstance(one, TensorInfo)}
    if not found:
        raise refused(Reason.NO_TENSORS)
    return found
