"""The header is read as the safetensors library reads it, or what cannot be read is named."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from shared.loras.check import check_file
from shared.loras.entry import LoraState
from tests.unit.loras.lora_files import body_of, header_of, tiny_specs

NAME = next(iter(tiny_specs()))
SOUND = json.dumps(header_of(tiny_specs(), {"format": "pt"}), separators=(",", ":")).encode()
BODY = body_of(tiny_specs())
ENTRY = SOUND[SOUND.index(b'"dtype"') : SOUND.index(b"}", SOUND.index(b'"dtype"'))]


def written(raw: bytes, folder: Path) -> Path:
    path = folder / "some_tiny.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + BODY)
    return path


def library_reads(path: Path) -> bool:
    try:
        deserialize(path.read_bytes())
    except SafetensorError:
        return False
    return True


READ = {
    "an unknown field": b'"strides":[128,1],' + ENTRY,
    "an unknown object": b'"made":{"by":["x",{"y":"}"}]},' + ENTRY,
    "an unknown field twice": b'"x":1,"x":null,' + ENTRY,
    "a negative unknown number": b'"x":-1.5e3,' + ENTRY,
    "an escape in a field's name": ENTRY.replace(b'"dtype"', b'"d\\u0074ype"'),
    "an escape in a type": ENTRY.replace(b'"F16"', b'"F\\u00316"'),
    "white space everywhere": ENTRY.replace(b":", b" :\n ").replace(b",", b"\t, "),
    "a shape of many sides": ENTRY.replace(b"[4,", b"[4,1,1,1,1,1,1,1,1,1,"),
}


@pytest.mark.parametrize("case", READ)
def test_what_the_library_reads_is_read(case: str, tmp_path: Path) -> None:
    path = written(SOUND.replace(ENTRY, READ[case], 1), tmp_path)

    assert library_reads(path)
    assert check_file(path).reason_code != "malformed_header"


@pytest.mark.parametrize("value", [b'{"format":"pt"}', b"null", b"{ }"])
def test_metadata_is_known_by_its_key_in_escapes_too(value: bytes, tmp_path: Path) -> None:
    escaped = b'"__meta\\u0064ata__":' + value
    path = written(SOUND.replace(b'"__metadata__":{"format":"pt"}', escaped, 1), tmp_path)

    assert library_reads(path)
    assert check_file(path).state is LoraState.AVAILABLE


UNREAD = {
    "a field twice": b'"dtype":"F16",' + ENTRY,
    "a field twice, once in escapes": b'"d\\u0074ype":"F16",' + ENTRY,
    "a missing field": ENTRY.replace(b'"dtype"', b'"type"'),
    "a fraction": ENTRY.replace(b"[4,", b"[4.0,"),
    "a truth for a number": ENTRY.replace(b"[4,", b"[true,"),
    "minus nothing": ENTRY.replace(b"[0,", b"[-0,"),
    "no number": b'"x":NaN,' + ENTRY,
    "a number beyond all": b'"x":1e999,' + ENTRY,
    "half of a surrogate pair": b'"x":"\\ud83d",' + ENTRY,
    "bytes that are no text": b'"x":"\xff",' + ENTRY,
    "an object in an object without end": b'"x":' + b"[" * 3000,
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_the_library_refuses_is_refused_by_the_tensors_name(case: str, tmp_path: Path) -> None:
    path = written(SOUND.replace(ENTRY, UNREAD[case], 1), tmp_path)
    entry = check_file(path)

    assert not library_reads(path)
    assert entry.reason_code == "malformed_header"
    assert NAME[:39] in (entry.reason or "")


def test_half_of_a_surrogate_pair_in_the_metadata_is_refused_by_its_key(tmp_path: Path) -> None:
    path = written(SOUND.replace(b'"format":"pt"', b'"title":"\\ud83d"', 1), tmp_path)

    assert not library_reads(path)
    assert "(title)" in (check_file(path).reason or "")


PIECES = st.sampled_from(
    [b'"x":1,', b'"x":{"y":[1]},', b'"x":[],', b'"x":-0,', b'"x":01,', b'"":0,', b"-0", b"0.0",
     b'"dtype":"F16",', b"\\u0064", b"\\ud800", b"\xff", b" ", b"\n", b"{", b"}", b"[", b"]", b",",
     b":", b'"', b"\\", b"0", b"null", '"é":"\u2028",'.encode()]
)  # fmt: skip
STARTS = [at + 1 for at, byte in enumerate(SOUND[:600]) if byte in b"{,["]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sound header with one or two pieces put in, mostly where an entry begins."""
    raw = bytearray(SOUND)
    for _ in range(draw(st.integers(1, 2))):
        begin = draw(st.sampled_from(STARTS) | st.integers(0, 400))
        raw[begin : begin + draw(st.sampled_from([0, 0, 0, 1, 3]))] = draw(PIECES)
    return bytes(raw)


@given(raw=mutated())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_header_is_offered_that_the_library_refuses_nor_refused_that_it_reads(
    raw: bytes, tmp_path: Path
) -> None:
    path = written(raw, tmp_path)
    entry, is_read = check_file(path), library_reads(path)

    assert is_read or entry.state is not LoraState.AVAILABLE
    assert not is_read or entry.reason_code != "malformed_header"
