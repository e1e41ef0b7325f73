"""Converts the tensor names of older files to the published ones. Values are not read.

ESRGAN's first files number the layers of one `nn.Sequential`; its second naming, which BSRGAN and
others kept, has capitals; training scripts put a prefix before all names.
"""

import re
from collections.abc import Iterable

PREFIXES = ("module.", "netG.", "generator.", "net_g.")

_SEQUENTIAL = re.compile(r"model\.(\d{1,2})\.(weight|bias)")
_SEQUENTIAL_BLOCK = re.compile(
    r"model\.1\.sub\.(\d{1,3})\.RDB([123])\.conv([1-5])\.0\.(weight|bias)"
)
_SEQUENTIAL_TRUNK = re.compile(r"model\.1\.sub\.(\d{1,3})\.(weight|bias)")
_CAPITALS = (
    (re.compile(r"RRDB_trunk\.(\d{1,3})\.RDB([123])\."), r"body.\1.rdb\2."),
    (re.compile(r"trunk_conv\."), "conv_body."),
    (re.compile(r"upconv([123])\."), r"conv_up\1."),
    (re.compile(r"HRconv\."), "conv_hr."),
)


def published_names(names: Iterable[str]) -> dict[str, str]:
    """For every name of a file the published one, or the same name if its naming is unknown."""
    given = list(names)
    plain = {name: _without_prefix(name, given) for name in given}
    if "model.0.weight" in plain.values():
        rows = _rows(plain.values())
        return {name: _from_sequential(short, rows) for name, short in plain.items()}
    return {name: _from_capitals(short) for name, short in plain.items()}


def _without_prefix(name: str, names: list[str]) -> str:
    for prefix in PREFIXES:
        if all(each.startswith(prefix) for each in names):
            return name.removeprefix(prefix)
    return name


def _rows(names: Iterable[str]) -> dict[int, str]:
    """The numbered layers after the trunk: a doubling takes three places, with its convolution in
    the third; the last two convolutions follow two places later, two apart.
    """
    found = (_SEQUENTIAL.fullmatch(name) for name in names)
    numbers = sorted({int(match[1]) for match in found if match})
    rows = {0: "conv_first"}
    if len(numbers) < 3:
        return rows
    ups = len(numbers) - 3
    rows |= {3 * number: f"conv_up{number}" for number in range(1, ups + 1)}
    return rows | {3 * ups + 2: "conv_hr", 3 * ups + 4: "conv_last"}


def _from_sequential(name: str, rows: dict[int, str]) -> str:
    if block := _SEQUENTIAL_BLOCK.fullmatch(name):
        return "body.{}.rdb{}.conv{}.{}".format(*block.groups())
    if trunk := _SEQUENTIAL_TRUNK.fullmatch(name):
        return f"conv_body.{trunk[2]}"
    row = _SEQUENTIAL.fullmatch(name)
    if row and int(row[1]) in rows:
        return f"{rows[int(row[1])]}.{row[2]}"
    return name


def _from_capitals(name: str) -> str:
    for pattern, published in _CAPITALS:
        name = pattern.sub(published, name)
    return name
