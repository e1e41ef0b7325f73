"""What is no enlarger, or would run code when opened, is refused by name and never opened."""

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from shared.errors import UpscalerChanged, UpscalerCorrupt, UpscalerNotFound, UpscalerUnusable
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.entry import UpscalerEntry
from tests.unit.loras.lora_files import tiny_specs, write_lora
from tests.unit.upscalers.upscaler_files import (
    FOLDED,
    RRDB,
    Evil,
    dumped,
    tensors_of,
    write_pickled,
    write_plain,
    write_zip,
)
from worker.engine.upscale.loading import load_upscaler


def judged(folder: Path) -> UpscalerEntry:
    catalog = UpscalerCatalog(folder)
    catalog.scan()
    (entry,) = catalog.entries()
    return entry


def assert_refused(folder: Path, code: str, *words: str) -> None:
    entry = judged(folder)
    assert entry.reason_code == code
    assert not entry.is_available
    assert entry.reason
    assert entry.reason_zh
    for word in words:
        assert word in entry.reason


def test_a_pickle_that_runs_a_command_is_refused_by_that_commands_name(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    folder = tmp_path / "upscalers"
    folder.mkdir()
    write_pickled(folder / "evil.pth", {"params": tensors_of(RRDB), "more": Evil(mark)})
    assert_refused(folder, "unsafe_pickle", "system")
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_evil_is_found_in_every_protocol_and_format(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for number, write in enumerate((write_zip, lambda path, data: path.write_bytes(data))):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "evil.pth", dumped({"a": Evil(mark)}, protocol))
        entry = judged(folder)
        assert entry.reason_code in ("unsafe_pickle", "not_a_checkpoint")
        assert not entry.is_available
    assert not mark.exists()


def test_getattr_and_other_harmless_looking_names_are_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("builtins getattr", "torch load", "torch.nn.modules Module")):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_zip(folder / "one.pth", b"c" + name.replace(" ", "\n").encode() + b"\n.")
        assert_refused(folder, "unsafe_pickle", name.split()[1])


def test_a_nest_of_tuples_as_a_key_does_not_take_for_ever(tmp_path: Path) -> None:
    program = b"}(N" + b"q\x00h\x00\x86" * 60 + b"K\x01u."
    write_zip(tmp_path / "one.pth", program)
    assert_refused(tmp_path, "not_a_checkpoint")


def test_a_pickle_that_asks_for_memory_does_not_get_it(tmp_path: Path) -> None:
    huge = struct.pack("<I", 0x7FFFFFFF)
    bombs = [b"N\x72" + huge + b".", b"\x58" + huge + b"a.", b"\x96" + struct.pack("<Q", 2**40)]
    tracemalloc.start()
    for number, program in enumerate(bombs):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_zip(folder / "one.pth", program)
        assert not judged(folder).is_available
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * 2**20


def test_a_compressed_archive_is_no_checkpoint(tmp_path: Path) -> None:
    write_zip(tmp_path / "bomb.pth", dumped({}) + b"\0" * 10**6, zipfile.ZIP_DEFLATED)
    assert_refused(tmp_path, "not_a_checkpoint")


def test_a_tensor_that_points_outside_its_storage_is_refused(tmp_path: Path) -> None:
    path = write_pickled(tmp_path / "one.pth", tensors_of(RRDB))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[: len(data) // 2] if "/data/" in name else data)
    assert_refused(tmp_path, "storage_missing")


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x80\x02.", b"not a pickle", b"\x80\x02}q\x00."]
)
def test_broken_checkpoints_are_refused_and_nothing_else_happens(
    data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "one.pth"
    path.write_bytes(data)
    assert not judged(tmp_path).is_available


def test_a_lora_in_the_folder_is_named_as_no_enlarger(tmp_path: Path) -> None:
    write_lora(tmp_path / "face_tiny.safetensors", tiny_specs())
    assert_refused(tmp_path, "unknown_network", "RRDBNet")


def test_a_missing_a_wrong_and_a_foreign_tensor_are_named(tmp_path: Path) -> None:
    tensors = tensors_of(RRDB)
    cases = {
        "missing_tensor": {n: v for n, v in tensors.items() if n != "body.0.rdb2.conv3.bias"},
        "wrong_shape": tensors | {"conv_hr.weight": torch.zeros(8, 8, 1, 1)},
        "foreign_tensors_here": tensors | {"head.gamma": torch.zeros(3)},
    }
    names = {"missing_tensor": "body.0.rdb2.conv3.bias", "wrong_shape": "conv_hr.weight",
             "foreign_tensors_here": "head.gamma"}  # fmt: skip
    for code, content in cases.items():
        folder = tmp_path / code
        folder.mkdir()
        write_plain(folder / "one.safetensors", content)
        assert_refused(folder, code, names[code])


def test_a_network_larger_than_any_published_one_is_refused(tmp_path: Path) -> None:
    tensors = tensors_of(RRDB) | {"body.999.rdb1.conv1.weight": torch.zeros(4, 8, 3, 3)}
    write_plain(tmp_path / "one.safetensors", tensors)
    assert_refused(tmp_path, "unknown_network")


def test_values_that_are_no_numbers_are_refused_when_scanned_or_when_loaded(
    tmp_path: Path,
) -> None:
    tensors = tensors_of(FOLDED)
    tensors["first.weight"][0, 0, 0, 0] = float("nan")
    plain, pickled = tmp_path / "plain", tmp_path / "pickled"
    plain.mkdir()
    pickled.mkdir()
    write_plain(plain / "one.safetensors", tensors)
    write_pickled(pickled / "one.pth", tensors)
    assert_refused(plain, "not_finite", "first.weight")
    with pytest.raises(UpscalerCorrupt):
        load_upscaler(judged(pickled), torch.device("cpu"))


def test_a_file_that_is_replaced_after_the_look_is_not_loaded(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "one.safetensors", tensors_of(FOLDED))
    entry = judged(tmp_path)
    path.write_bytes(pickle.dumps(1))
    with pytest.raises(UpscalerChanged):
        load_upscaler(entry, torch.device("cpu"))


def test_reserved_and_unusable_names_and_links_outside_are_said(tmp_path: Path) -> None:
    for name in ("lanczos", "auto", "a b"):
        folder = tmp_path / name
        folder.mkdir()
        write_plain(folder / f"{name}.safetensors", tensors_of(FOLDED))
        assert_refused(folder, "unusable_upscaler_name")
    outside = write_plain(tmp_path / "outside.safetensors", tensors_of(FOLDED))
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "link.safetensors").symlink_to(outside)
    assert_refused(folder, "link_outside")


def test_names_from_outside_never_touch_the_file_system(tmp_path: Path) -> None:
    catalog = UpscalerCatalog(tmp_path)
    for name in ("../x", "/etc/passwd", "a\0b", "x" * 10_000):
        with pytest.raises(UpscalerNotFound):
            catalog.resolve(name)


def test_an_unusable_file_is_refused_with_its_reason_and_a_way_out(tmp_path: Path) -> None:
    write_lora(tmp_path / "face.safetensors", tiny_specs())
    write_plain(tmp_path / "sound.safetensors", tensors_of(FOLDED))
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    with pytest.raises(UpscalerUnusable, match=r"not a supported enlarger"):
        catalog.resolve("face")
