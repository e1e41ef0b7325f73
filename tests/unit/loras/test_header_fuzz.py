"""Anything at all in a file: a verdict within seconds and 64 MiB, never an exception.

`pytest -m slow` runs 20,000 cases. Cases above a quarter of a mebibyte are judged a second time
under tracemalloc, which would slow the rest down for nothing.
"""

import json
import struct
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.loras.header import MAX_HEADER_BYTES
from shared.loras.inspection import Inspection, inspect_file
from tests.unit.loras.lora_files import body_of, header_of, tiny_specs

# The costliest file takes 0.8 s of CPU time on a quiet machine and twice that on a busy one, whose
# caches are shared; a measurement of coverage makes each line several times slower.
MAX_SECONDS = 4.0 if sys.gettrace() is None else 15.0
TRIES = 3
MAX_BYTES = 64 * 2**20
_TRACED_FROM_BYTES = 2**18

SOUND = json.dumps(header_of(tiny_specs(), {"format": "pt"}), separators=(",", ":")).encode()
BODY = body_of(tiny_specs())
TENSOR = (
    b'"unet.mid_block.attn2.to_k.lora_A.weight":'
    b'{"dtype":"F16","shape":[4,64],"data_offsets":[0,512]}'
)

tokens = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0041", b"\\ud83d", b" ", b"\n", b"\0",
     b'"__metadata__":{', b'"a":"b"', b'"dtype":"F16"', b'"shape":[1]', b'"data_offsets":[0,2]',
     b"0", b"-1", b"1e9", b"9" * 30, b"null", b"true", TENSOR, "\U0001f600".encode(), b"\xff",
     b"https://", b"a.com ", b"<", b"@a", b"+1 2 3 ", b"Ab1/", b"qq ", "微信".encode()]
)  # fmt: skip
grammar = st.lists(tokens, max_size=60).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound header with a few stretches replaced."""
    raw = bytearray(SOUND)
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + draw(st.integers(0, 8)))
        raw[begin:end] = draw(tokens | st.binary(max_size=8))
    return bytes(raw)


@st.composite
def inflated(draw: st.DrawFn) -> bytes:
    """One piece repeated up to the largest header, inside or outside a metadata string."""
    unit = draw(st.lists(tokens, min_size=1, max_size=4).map(b"".join))
    size = draw(st.sampled_from([2**10, 2**16, 2**20, MAX_HEADER_BYTES // 2 - 200]))
    opening, closing = draw(
        st.sampled_from(
            [(b"{", b"}"), (b'{"__metadata__":{"k":"', b'"},' + TENSOR + b"}"), (b'{"a":', b"}")]
        )
    )
    return opening + unit * (size // len(unit)) + closing


headers = st.one_of(
    mutated(), mutated(), mutated(), grammar, grammar.map(lambda raw: b"{" + raw), st.binary(),
    inflated(),
)  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A header behind a length that is true, mostly, and a body that fits, mostly."""
    raw = draw(headers)
    length = draw(st.sampled_from([len(raw)] * 8 + [0, 7, len(raw) + 1, 2**31, 2**63, 2**64 - 1]))
    body = draw(st.sampled_from([BODY] * 4 + [b"", BODY[:-1], BODY + b"x"]))
    return struct.pack("<Q", length) + raw + body


def judge(path: Path, data: bytes) -> Inspection:
    path.write_bytes(data)
    for _ in range(TRIES):
        begin = time.thread_time()
        seen = inspect_file(path, path.stem)
        if time.thread_time() - begin < MAX_SECONDS:
            return seen
    raise AssertionError(f"more than {MAX_SECONDS} s of CPU time in each of {TRIES} tries")


def judge_within_memory(path: Path) -> None:
    tracemalloc.start()
    try:
        inspect_file(path, path.stem)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


def check_any_file(folder: Path, data: bytes) -> None:
    path = folder / "fuzzed_tiny.safetensors"
    seen = judge(path, data)
    assert all(finding.en and finding.zh for finding in seen.findings)
    if len(data) > _TRACED_FROM_BYTES:
        judge_within_memory(path)


RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@given(data=files())
@settings(max_examples=500, **RELAXED)  # type: ignore[arg-type]
def test_anything_in_a_file_ends_in_a_verdict(tmp_path: Path, data: bytes) -> None:
    check_any_file(tmp_path, data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(data=files())
@settings(max_examples=20_000, **RELAXED)  # type: ignore[arg-type]
def test_anything_in_20_000_files_ends_in_a_verdict(tmp_path: Path, data: bytes) -> None:
    check_any_file(tmp_path, data)


HALF = MAX_HEADER_BYTES // 2 - 200
COSTLY = {
    "letters": "a" * HALF,
    "dots": "a." * (HALF // 2),
    "module names": "ff.net " * (HALF // 7),
    "trusted addresses": "https://github.com/ " * (HALF // 20),
    "at signs": "@a" * (HALF // 2),
    "angle brackets": "< " * (HALF // 2),
    "runs just too short": ("Ab1" * 39 + "aa ") * (HALF // 120),
    "digits": "+1 2 3 " * (HALF // 7),
    "messengers": "qq telegram " * (HALF // 12),
    "Chinese messengers": "微信 " * (HALF // 7),
    "one wide character": "a" * (HALF - 8) + "\U0001f600",
    "nested escapes": "\\u0041" * (HALF // 7),
    "line ends": "\n" * (HALF // 2),
}


# Memory follows the width of characters and the layers of escapes, not the patterns.
HEAVY = ("letters", "one wide character", "nested escapes")


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_metadata_stays_within_time_and_memory(name: str, tmp_path: Path) -> None:
    text = COSTLY[name]
    value = json.dumps(text, ensure_ascii=False).encode()
    metadata = b'"__metadata__":{"a":' + value + b',"b":' + value + b"},"
    raw = b"{" + metadata + TENSOR + b"}"
    path = tmp_path / "costly_tiny.safetensors"

    seen = judge(path, struct.pack("<Q", len(raw)) + raw + bytes(512))
    if name in HEAVY:
        judge_within_memory(path)

    assert len(raw) <= MAX_HEADER_BYTES
    assert seen.sha256


def test_as_many_tensors_as_are_allowed_stay_within_time_and_memory(tmp_path: Path) -> None:
    members = (
        f'"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k_{i}.lora_down.weight":'
        f'{{"dtype":"F16","shape":[1,64],"data_offsets":[{128 * i},{128 * i + 128}]}}'
        for i in range(20_000)
    )
    raw = ("{" + ",".join(members) + "}").encode()
    path = tmp_path / "many_tiny.safetensors"

    judge(path, struct.pack("<Q", len(raw)) + raw + bytes(128 * 20_000))
    judge_within_memory(path)
