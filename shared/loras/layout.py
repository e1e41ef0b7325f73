"""Whether a header's tensors fill the file exactly: each has its size, without gaps, to the last
byte.

Owns the format's number types. Knows nothing of names and meaning.
"""

from math import prod

from shared.loras.header import Header, Tensor
from shared.loras.reasons import Reason, clean, refused

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


def check_layout(header: Header, file_size: int) -> list[Tensor]:
    """The tensors in the order of their bytes. Raises Refused if they do not fill the file
    exactly.
    """
    ordered = sorted(header.tensors, key=lambda tensor: tensor.begin)
    position = 0
    for tensor in ordered:
        _check_size(tensor)
        if tensor.begin < position:
            raise refused(Reason.OFFSETS_OVERLAP, name=clean(tensor.name))
        if tensor.begin > position:
            raise refused(Reason.OFFSETS_GAP, name=clean(tensor.name))
        position = tensor.end
    _check_end(position, file_size - header.body_start)
    return ordered


def _check_size(tensor: Tensor) -> None:
    bits = _BITS.get(tensor.dtype)
    if bits is None:
        raise refused(Reason.UNKNOWN_DTYPE, name=clean(tensor.name), dtype=tensor.dtype)
    elements = prod(tensor.shape)
    if elements == 0:
        raise refused(Reason.ZERO_SIZE_TENSOR, name=clean(tensor.name))
    actual, expected = tensor.end - tensor.begin, -(-elements * bits // 8)
    if actual != expected:
        name = clean(tensor.name)
        raise refused(Reason.SIZE_MISMATCH, name=name, actual=actual, expected=expected)


def _check_end(tensors_end: int, body_size: int) -> None:
    if tensors_end > body_size:
        raise refused(Reason.TRUNCATED, missing=tensors_end - body_size)
    if tensors_end < body_size:
        raise refused(Reason.TRAILING_BYTES, extra=body_size - tensors_end)
