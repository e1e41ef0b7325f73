"""Files that want to do harm: each is held back for a named reason, and none of it is opened."""

import base64
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.loras.check import check_file
from shared.loras.entry import LoraState
from shared.loras.header import MAX_HEADER_BYTES
from shared.loras.inspection import MAX_FILE_BYTES
from tests.unit.loras.lora_files import (
    Spec,
    body_of,
    header_of,
    pair,
    tiny_specs,
    write_lora,
    write_raw,
)

NAME = "unet.mid_block.attentions.0.attn2.to_k"
CANARY = "canary"


class _Payload:
    """Unpickling it would create a file beside the test."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (CANARY,))


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Payload()))


def _torch_checkpoint(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Payload()))
    path.write_bytes(buffer.getvalue())


def _web_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>404</title>")


def _changed_header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        header = header_of(tiny_specs())
        change(header)
        write_raw(path, header, body_of(tiny_specs()))

    return write


def _changed_text(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        raw = json.dumps(header_of(tiny_specs()), separators=(",", ":")).encode()
        write_raw(path, change(raw), body_of(tiny_specs()))

    return write


def _twice(raw: bytes) -> bytes:
    """The first tensor's member, repeated at the end."""
    end = raw.index(b"}") + 1
    return raw[:-1] + b"," + raw[1:end] + b"}"


def _shift(header: dict[str, Any], by: int) -> None:
    """Move every tensor but the first."""
    for tensor in list(header.values())[1:]:
        tensor["data_offsets"] = [offset + by for offset in tensor["data_offsets"]]


def _lengthen_first(header: dict[str, Any]) -> None:
    next(iter(header.values()))["data_offsets"][1] += 2


def _add(header: dict[str, Any], shape: list[int], dtype: str, size: int) -> None:
    end = max(tensor["data_offsets"][1] for tensor in header.values())
    header["extra"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}


def _length(length: int) -> Callable[[Path], None]:
    return lambda path: _write(path, struct.pack("<Q", length) + b'{"a":1}' * 9)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _many_tensors(count: int, name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        members = (
            f'"{name}{i:x}":{{"dtype":"F16","shape":[1],"data_offsets":[{2 * i},{2 * i + 2}]}}'
            for i in range(count)
        )
        write_raw(path, ("{" + ",".join(members) + "}").encode(), bytes(2 * count))

    return write


def _values(dtype: str, pattern: bytes, at: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        specs = pair(NAME, 64, 128, dtype=dtype)
        width = len(pattern)
        data = bytearray(4 * 64 * width)
        data[at * width : (at + 1) * width] = pattern
        specs[f"{NAME}.lora_A.weight"] = Spec((4, 64), dtype, bytes(data))
        write_lora(path, specs)

    return write


def _metadata(key: str, value: str) -> Callable[[Path], None]:
    return lambda path: _write_with(path, {key: value})


def _write_with(path: Path, metadata: dict[str, str]) -> None:
    write_lora(path, tiny_specs(), metadata)


def _sparse(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return write


BLOB = base64.b64encode(random.Random(7).randbytes(200)).decode()
BLOB_LINES = base64.encodebytes(random.Random(7).randbytes(200)).decode()

FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickle": (_pickle, "executable"),
    "torch checkpoint": (_torch_checkpoint, "executable"),
    "web page": (_web_page, "not_safetensors"),
    "empty": (lambda path: _write(path, b""), "file_too_short"),
    "header of 8 EiB": (_length(2**63), "header_too_long"),
    "header one byte over the limit": (_length(MAX_HEADER_BYTES + 1), "header_too_long"),
    "header longer than the file": (_length(64), "header_beyond_file"),
    "file over the limit": (_sparse(MAX_FILE_BYTES + 1), "file_too_large"),
    "duplicate tensor": (_changed_text(_twice), "duplicate_key"),
    "duplicate metadata": (
        _changed_text(lambda raw: b'{"__metadata__":{"a":"b"},"__metadata__":{"a":"b"},' + raw[1:]),
        "duplicate_key",
    ),
    "duplicate metadata key by escape": (
        _changed_text(lambda raw: b'{"__metadata__":{"a":"1","\\u0061":"2"},' + raw[1:]),
        "duplicate_key",
    ),
    "duplicate field": (
        _changed_text(lambda raw: raw.replace(b'"dtype":"F16"', b'"dtype":"F16","dtype":"F16"', 1)),
        "malformed_header",
    ),
    "leading space": (_changed_text(lambda raw: b" " + raw), "leading_space"),
    "text behind the header": (_changed_text(lambda raw: raw + b"{}"), "malformed_header"),
    "no object": (_changed_text(lambda raw: b"[" + raw + b"]"), "leading_space"),
    "nested brackets": (
        lambda path: write_raw(path, b'{"a":' + b"[" * 100_000),
        "malformed_header",
    ),
    "negative offset": (
        _changed_text(lambda raw: raw.replace(b"[0,", b"[-1,", 1)),
        "malformed_header",
    ),
    "float offset": (
        _changed_text(lambda raw: raw.replace(b"[0,", b"[0.0,", 1)),
        "malformed_header",
    ),
    "metadata that is no string": (
        _changed_text(lambda raw: b'{"__metadata__":{"a":1},' + raw[1:]),
        "malformed_header",
    ),
    "invalid UTF-8": (
        _changed_text(lambda raw: b'{"__metadata__":{"a":"\xff"},' + raw[1:]),
        "malformed_header",
    ),
    "2,000 metadata keys": (
        lambda path: _write_with(path, {str(i): "" for i in range(2000)}),
        "metadata_too_long",
    ),
    "metadata of 5 MB": (_metadata("a", "x" * 5_000_000), "metadata_too_long"),
    "no tensors": (lambda path: write_raw(path, b"{}"), "no_tensors"),
    "metadata alone": (lambda path: write_raw(path, b'{"__metadata__":{}}'), "no_tensors"),
    "overlapping offsets": (_changed_header(lambda header: _shift(header, -2)), "offsets_overlap"),
    "gapped offsets": (_changed_header(lambda header: _shift(header, 2)), "offsets_gap"),
    "shape and size differ": (_changed_header(_lengthen_first), "size_mismatch"),
    "shape of 2^63 elements": (
        _changed_header(lambda header: _add(header, [2**31, 2**32], "F16", 2)),
        "size_mismatch",
    ),
    "unknown type": (_changed_header(lambda h: _add(h, [1], "F13", 2)), "unknown_dtype"),
    "zero-size tensor": (_changed_header(lambda h: _add(h, [0, 4], "F16", 0)), "zero_size_tensor"),
    "tensors beyond the file": (_changed_header(lambda h: _add(h, [9], "F16", 18)), "truncated"),
    "trailing bytes": (
        lambda path: write_raw(path, header_of(tiny_specs()), body_of(tiny_specs()) + b"PK"),
        "trailing_bytes",
    ),
    "20,001 tensors": (_many_tensors(20_001, "unet.t"), "too_many_tensors"),
    "200,000 tensors": (_many_tensors(200_000, ""), "header_too_long"),
    "NaN in F16": (_values("F16", b"\x00\x7e", 200), "not_finite"),
    "infinity in F16": (_values("F16", b"\x00\xfc", 0), "not_finite"),
    "NaN in BF16": (_values("BF16", b"\xc0\x7f", 255), "not_finite"),
    "infinity in BF16": (_values("BF16", b"\x80\xff", 17), "not_finite"),
    "NaN in F32": (_values("F32", b"\x01\x00\x80\x7f", 100), "not_finite"),
    "infinity in F32": (_values("F32", b"\x00\x00\x80\x7f", 100), "not_finite"),
    "rank 4,096": (
        lambda path: write_lora(path, pair(NAME, 64, 128, rank=4096)),
        "rank_too_high",
    ),
    "factors of two ranks": (
        lambda path: write_lora(
            path, {**pair(NAME, 64, 128), f"{NAME}.lora_B.weight": Spec((128, 8))}
        ),
        "factors_disagree",
    ),
    "a factor alone": (
        lambda path: write_lora(path, {f"{NAME}.lora_A.weight": Spec((4, 64))}),
        "factors_disagree",
    ),
    "script": (_metadata("ss_tag_frequency", "<script>alert(1)</script>"), "markup"),
    "event handler": (_metadata("modelspec.title", '<b onerror = "x">'), "markup"),
    "page in an address": (
        _metadata("modelspec.description", "data:text/html;base64,PHNjcmlwdD4="),
        "markup",
    ),
    "gambling address": (
        _metadata("ss_training_comment", "best odds at https://casino-88.bet/win"),
        "address",
    ),
    "address below JSON escapes": (
        _metadata("ss_tag_frequency", json.dumps({"a": "\u0000"})[:-2] + "\\u0068ttps://x.bet"),
        "address",
    ),
    "address with escaped slashes": (
        _metadata("ss_tag_frequency", '{"https:\\/\\/casino-88.bet": 1}'),
        "address",
    ),
    "trusted name as user of another host": (
        _metadata("modelspec.implementation", "https://github.com@casino-88.bet/x"),
        "address",
    ),
    "trusted name in another host": (
        _metadata("modelspec.implementation", "https://github.com.casino-88.bet/x"),
        "address",
    ),
    "bare domain": (_metadata("ss_training_comment", "see Casino-88.COM for more"), "address"),
    "messenger link": (_metadata("ss_training_comment", "join t.me/odds"), "address"),
    "messenger account": (_metadata("ss_training_comment", "加微信：abc12345"), "contact"),
    "phone number": (_metadata("ss_training_comment", "call 13800138000"), "contact"),
    "mail address": (_metadata("ss_training_comment", "mail me@casino.top"), "contact"),
    "base64": (_metadata("payload", BLOB), "encoded_blob"),
    "base64 in lines": (_metadata("payload", BLOB_LINES), "encoded_blob"),
    "escape codes": (_metadata("modelspec.title", "\x1b[2Jgone"), "control_characters"),
    "reordering marks": (_metadata("modelspec.title", "abc\u202etxt.exe"), "control_characters"),
    "a second address in a key": (_metadata("https://casino-88.bet", ""), "address"),
}


@pytest.mark.parametrize(("write", "reason"), FILES.values(), ids=FILES.keys())
def test_a_hostile_file_is_held_back_for_a_named_reason(
    write: Callable[[Path], Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil_tiny.safetensors"
    write(path)

    entry = check_file(path)

    assert (entry.state, entry.reason_code) == (LoraState.QUARANTINED, reason), entry
    assert entry.reason
    assert entry.reason_zh
    assert not (tmp_path / CANARY).exists()


def test_a_first_bad_weight_is_named(tmp_path: Path) -> None:
    path = tmp_path / "evil_tiny.safetensors"
    specs = {**pair(f"{NAME}_0", 64, 128), **pair(NAME, 64, 128, dtype="F32")}
    data = bytearray(128 * 4 * 4)
    data[-4:] = struct.pack("<f", float("nan"))
    specs[f"{NAME}.lora_B.weight"] = Spec((128, 4), "F32", bytes(data))

    entry = check_file(write_lora(path, specs))

    assert f"(tensor {NAME}.lora_B.weight)" in (entry.reason or "")


def test_what_was_found_is_shown_as_text_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "evil_tiny.safetensors"
    write_lora(path, tiny_specs(), {"k" * 500: "<script>\x1b[31m" + "x" * 500})

    entry = check_file(path)

    shown = [entry.reason or "", *entry.evidence]
    assert all(len(line) < 300 and line.isprintable() for line in shown)


@pytest.mark.parametrize(
    "metadata",
    [
        {"modelspec.author": "Jane Doe <jane@example.org>"},
        {"modelspec.license": "https://huggingface.co/spaces/CompVis/stable-diffusion-license"},
        {"software": '{"name": "ai-toolkit", "repo": "https://github.com/ostris/ai-toolkit"}'},
        {"modelspec.thumbnail": "data:image/jpeg;base64," + BLOB},
        {"ss_tag_frequency": '{"10_x": {"@_@": 3, ":d": 1, "<3": 2, "a photo in <style>": 1}}'},
        {"ot_config": '{"layer_filter": "attn1,attn2,ff.net", "optimizer": "torch.optim.AdamW"}'},
        {"ss_session_id": "4294967295", "ss_training_finished_at": "1772359200.1234567"},
        {"ss_sd_model_name": "v1-5-pruned-emaonly.safetensors", "ss_vae_name": "vae.pt"},
        {"ss_tag_frequency": '{"10_pixiv.net": {"patreon.com/x, @artist": 3, "qq 12345": 1}}'},
        {"ss_dataset_dirs": '{"10_www.example.com": {"n_repeats": 10}, "5_weibo.cn": {}}'},
        {"ss_datasets": '[{"tag_frequency": {"a": {"photo by me@example.org": 1}}}]'},
        {"ss_tag_frequency": json.dumps({"10_x": {f"tag {i}, 人像": i for i in range(130_000)}})},
        {"modelspec.description": "一个用于人像修复的 LoRA，适合微距与夜景。"},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
def test_what_trainers_write_by_themselves_is_no_alarm(
    metadata: dict[str, str], tmp_path: Path
) -> None:
    entry = check_file(write_lora(tmp_path / "fine_tiny.safetensors", tiny_specs(), metadata))

    assert entry.state is LoraState.AVAILABLE, entry.reason


def test_a_foreign_format_is_refused_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "style.ckpt"
    _pickle(path)

    assert check_file(path).reason_code == "wrong_suffix"


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe, folder = tmp_path / "pipe.safetensors", tmp_path / "folder.safetensors"
    os.mkfifo(pipe)
    folder.mkdir()

    for path in (pipe, folder, tmp_path / "missing.safetensors"):
        assert check_file(path).reason_code == "unreadable", path


@pytest.mark.parametrize(
    "stem", ["..", "a:b", "none", "x" * 129, "a\\b", "new\nline", "end\n", "a\u202eb", " a"]
)
def test_a_file_name_that_cannot_be_asked_for_is_said(stem: str, tmp_path: Path) -> None:
    entry = check_file(write_lora(tmp_path / f"{stem}.safetensors", tiny_specs()))

    assert entry.reason_code == "unusable_name"
    assert entry.name.isprintable()


def test_a_header_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    raw = json.dumps(header_of({**tiny_specs(), "bundle_emb.水彩": Spec((2, 64))})).encode()
    path = tmp_path / "fine_tiny.safetensors"

    for metadata in (b"{", b'{"__metadata__":null,', b'{"__metadata__" : {} ,'):
        write_raw(path, metadata + raw[1:], bytes(len(body_of(tiny_specs())) + 256))
        assert check_file(path).state is LoraState.AVAILABLE, metadata


def test_a_metadata_value_that_is_no_text_is_named(tmp_path: Path) -> None:
    raw = json.dumps(header_of(tiny_specs())).encode()
    path = write_raw(tmp_path / "a_tiny.safetensors", b'{"__metadata__":{"ss_steps":12},' + raw[1:])

    assert "(ss_steps)" in (check_file(path).reason or "")
