"""LoRAs that torch saved become safetensors, with their own names and without running code."""

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worker.conversion import main

PUBLISHED = {
    "rank_unet": 4,
    "unet_lora_encoder_modules": ["conv_in"],
    "state_dict_unet": OrderedDict(
        {"conv_in.lora_A.default_encoder.weight": torch.ones(4, 4, 3, 3, dtype=torch.float16)}
    ),
    "state_dict_vae": {"encoder.conv_in.lora_B.default_encoder.weight": torch.ones(8, 4, 1, 1)},
}


def test_nested_tables_keep_their_names_and_their_numbers(tmp_path: Path) -> None:
    torch.save(PUBLISHED, tmp_path / "osediff.pkl")
    assert main([str(tmp_path / "osediff.pkl")]) == 0
    written = load_file(tmp_path / "osediff.safetensors")
    assert set(written) == {
        "state_dict_unet.conv_in.lora_A.default_encoder.weight",
        "state_dict_vae.encoder.conv_in.lora_B.default_encoder.weight",
    }
    assert {tensor.dtype for tensor in written.values()} == {torch.float16, torch.float32}
    assert (tmp_path / "osediff.safetensors").stat().st_mode & 0o044 == 0o044


def test_tensors_that_share_memory_are_all_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    torch.save({"a.lora_A.weight": whole, "b.lora_A.weight": whole[1:]}, tmp_path / "two.pth")
    assert main([str(tmp_path / "two.pth"), "--into", str(tmp_path)]) == 0
    assert torch.equal(load_file(tmp_path / "two.safetensors")["b.lora_A.weight"], whole[1:])


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of the file has run",)


def test_a_file_with_code_is_refused_and_none_of_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"weight": _Runs()}, tmp_path / "evil.pkl")
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(_Runs()))
    assert main([str(tmp_path / "evil.pkl"), str(tmp_path / "bare.pkl")]) == 1
    said = capsys.readouterr()
    assert "code of the file" not in said.out
    assert said.err.count("is not opened") == 2
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_gguf_file_is_called_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "style.gguf").write_bytes(b"GGUF" + bytes(100))
    assert main([str(tmp_path / "style.gguf")]) == 1
    assert "a GGUF file" in capsys.readouterr().err


def test_what_cannot_be_converted_is_said_and_the_others_are_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(PUBLISHED, tmp_path / "good.pkl")
    torch.save({"rank": 4}, tmp_path / "empty.pkl")
    (tmp_path / "cut.pkl").write_bytes((tmp_path / "good.pkl").read_bytes()[:400])
    names = ("good", "empty", "cut", "missing")
    assert main([str(tmp_path / f"{name}.pkl") for name in names]) == 1
    said = capsys.readouterr().err
    assert "good" not in said.replace("goods", "")
    assert "empty.pkl: it has no tensors" in said
    assert "cut.pkl: it " in said
    assert "missing.pkl: it cannot be read" in said
    assert main([str(tmp_path / "good.pkl")]) == 1
    assert "exists already" in capsys.readouterr().err
