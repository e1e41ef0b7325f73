"""Colour profiles made from numbers in a file: primaries, white point and a transfer curve.

Owns the ICC bytes (ICC.1:2022, matrix profiles) and the curves of ITU-T H.273. Brightness beyond
what a screen shows (PQ of SMPTE ST 2084, HLG of BT.2100) is compressed by a shoulder, not clipped.
"""

import math
import struct
from collections.abc import Callable
from functools import cache

Point = tuple[float, float]
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
Curve = Callable[[float], float]

D50: Vector = (0.9642, 1.0, 0.8249)
D65: Point = (0.3127, 0.3290)
SRGB: tuple[Point, Point, Point] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_GREEN: Point = (0.21, 0.71)
ADOBE_GAMMA = 563 / 256
# By their number in H.273, table 2.
PRIMARIES: dict[int, tuple[Point, Point, Point, Point]] = {
    1: (*SRGB, D65),
    2: (*SRGB, D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), D65),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.314, 0.351)),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65),
    22: ((0.63, 0.34), (0.295, 0.605), (0.155, 0.077), D65),
}
# By their number in H.273, table 3. Pictures that state BT.709's camera curve are meant as sRGB.
SRGB_LIKE = frozenset({1, 2, 6, 11, 13, 14, 15})
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
PQ, HLG = 16, 18
HDR = frozenset({PQ, HLG})
# BT.2408: the level of white paper in HDR. Brighter values share the part above the knee.
WHITE_NITS, PQ_NITS, HLG_NITS, HLG_GAMMA = 203.0, 10_000.0, 1000.0, 1.2
KNEE = 0.5
ENTRIES = 4096
BRADFORD: Matrix = (
    (0.8951, 0.2664, -0.1614),
    (-0.7502, 1.7135, 0.0367),
    (0.0389, -0.0685, 1.0296),
)


class UnknownColours(ValueError):
    """Raised for numbers that stand for no supported colours."""


@cache
def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """The profile of two code points; None if they mean sRGB. Raises UnknownColours."""
    if primaries not in PRIMARIES:
        raise UnknownColours(f"primaries {primaries}")
    if primaries in (1, 2) and transfer in SRGB_LIKE:
        return None
    red, green, blue, white = PRIMARIES[primaries]
    return rgb_profile((red, green, blue), white, _curve(transfer))


@cache
def adobe_rgb() -> bytes:
    """Adobe RGB (1998), which EXIF can only indicate indirectly."""
    return rgb_profile((SRGB[0], ADOBE_GREEN, SRGB[2]), D65, power(ADOBE_GAMMA))


def rgb_profile(primaries: tuple[Point, Point, Point], white: Point, curve: Curve) -> bytes:
    """A display profile. Raises UnknownColours for primaries that span no area."""
    try:
        matrix = _to_d50(primaries, white)
    except ZeroDivisionError as error:
        raise UnknownColours("primaries that span no area") from error
    columns = [_xyz((matrix[0][at], matrix[1][at], matrix[2][at])) for at in range(3)]
    table = _table(curve)
    tags = {b"wtpt": _xyz(D50), b"rXYZ": columns[0], b"gXYZ": columns[1], b"bXYZ": columns[2]}
    return _file(b"RGB ", tags | {b"rTRC": table, b"gTRC": table, b"bTRC": table})


def power(gamma: float) -> Curve:
    """A plain power curve."""
    return lambda value: math.pow(value, gamma)


def srgb(value: float) -> float:
    """Linear light from sRGB's code values (IEC 61966-2-1)."""
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)


def _curve(transfer: int) -> Curve:
    if transfer in SRGB_LIKE:
        return srgb
    if transfer == PQ:
        return lambda value: _toned(_pq_nits(value), PQ_NITS)
    if transfer == HLG:
        return lambda value: _toned(HLG_NITS * math.pow(_hlg_light(value), HLG_GAMMA), HLG_NITS)
    if transfer not in GAMMAS:
        raise UnknownColours(f"transfer {transfer}")
    return power(GAMMAS[transfer])


def _pq_nits(value: float) -> float:
    root = math.pow(value, 1 / 78.84375)
    share = max(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root)
    return PQ_NITS * math.pow(share, 1 / 0.1593017578125)


def _hlg_light(value: float) -> float:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return value**2 / 3 if value <= 0.5 else (math.exp((value - c) / a) + b) / 12


def _toned(nits: float, peak_nits: float) -> float:
    """Light of 0 to 1: unchanged up to the knee; above it a curve that reaches 1 at the peak."""
    light = nits / WHITE_NITS
    if light <= KNEE:
        return light
    above, most = ((part - KNEE) / (1 - KNEE) for part in (light, peak_nits / WHITE_NITS))
    return KNEE + (1 - KNEE) * above * (1 + above / most**2) / (1 + above)


def _to_d50(primaries: tuple[Point, Point, Point], white: Point) -> Matrix:
    """RGB to XYZ under D50, adapted by Bradford's matrix."""
    columns = [_of_point(point) for point in primaries]
    rows: Matrix = tuple(tuple(column[at] for column in columns) for at in range(3))  # type: ignore[assignment]
    target = _of_point(white)
    weights = _times(_inverse(rows), target)
    scaled: Matrix = tuple(tuple(row[at] * weights[at] for at in range(3)) for row in rows)  # type: ignore[assignment]
    return _product(_adaptation(target), scaled)


def _adaptation(white: Vector) -> Matrix:
    seen, wanted = _times(BRADFORD, white), _times(BRADFORD, D50)
    gains = [wanted[at] / seen[at] for at in range(3)]
    scaled: Matrix = tuple(tuple(gains[at] * cell for cell in BRADFORD[at]) for at in range(3))  # type: ignore[assignment]
    return _product(_inverse(BRADFORD), scaled)


def _of_point(point: Point) -> Vector:
    x, y = point
    return x / y, 1.0, (1 - x - y) / y


def _times(matrix: Matrix, vector: Vector) -> Vector:
    first, second, third = (
        sum(cell * part for cell, part in zip(row, vector, strict=True)) for row in matrix
    )
    return first, second, third


def _product(one: Matrix, other: Matrix) -> Matrix:
    columns = [_times(one, (other[0][at], other[1][at], other[2][at])) for at in range(3)]
    return tuple(tuple(column[at] for column in columns) for at in range(3))  # type: ignore[return-value]


def _inverse(m: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = m
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    det = a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0]
    return tuple(tuple(cell / det for cell in row) for row in adjugate)  # type: ignore[return-value]


def _file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 4.3 for a display."""
    offset, index, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        index += struct.pack("!4sII", name, offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        "!I4sI4s4s4s12s4s28s12s48s",
        offset + len(body), b"", 0x04300000, b"mntr", space, b"XYZ ", b"", b"acsp", b"",
        _numbers(D50), b"",
    )  # fmt: skip
    return head + struct.pack("!I", len(tags)) + index + body


def _numbers(vector: Vector) -> bytes:
    return struct.pack("!3i", *(round(part * 65536) for part in vector))


def _xyz(vector: Vector) -> bytes:
    return b"XYZ \0\0\0\0" + _numbers(vector)


def _table(curve: Curve) -> bytes:
    values = (curve(at / (ENTRIES - 1)) for at in range(ENTRIES))
    levels = [round(65535 * min(1.0, max(0.0, value))) for value in values]
    return b"curv\0\0\0\0" + struct.pack(f"!I{ENTRIES}H", ENTRIES, *levels)
