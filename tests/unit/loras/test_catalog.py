"""The catalogue as its callers see it: names, refusals, releases, sidecars, what is read again."""

import json
import os
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import LoraBaseMismatch, LoraNotFound, LoraQuarantined
from shared.ledger.strikes import Suspension
from shared.loras import digests
from shared.loras.body import Body
from shared.loras.catalog import Catalog
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry, LoraState
from shared.loras.plans import modules_of, published_modules
from tests.unit.loras.lora_files import (
    Spec,
    body_of,
    header_of,
    merge,
    pair,
    sd15_specs,
    sdxl_specs,
    tiny_specs,
    write_lora,
    write_raw,
)

PATIENCE_SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "loras"
    path.mkdir()
    return path


@pytest.fixture
def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bodies are read from now on."""
    names: list[str] = []
    real = digests.read_body  # type: ignore[attr-defined]

    def spy(file: object, *rest: object) -> Body:
        names.append(Path(f"/proc/self/fd/{file.fileno()}").readlink().name)  # type: ignore[attr-defined]
        return real(file, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(digests, "read_body", spy)
    return names


def scanned(folder: Path, base: str = "tiny") -> Catalog:
    catalog = Catalog(folder, base)
    catalog.scan()
    return catalog


def only(catalog: Catalog) -> LoraEntry:
    (entry,) = catalog.entries()
    return entry


def test_entries_come_in_the_order_of_their_names(folder: Path) -> None:
    for name in ("b_tiny", "a_tiny", "c_sdxl"):
        write_lora(folder / f"{name}.safetensors", tiny_specs())

    assert [entry.name for entry in scanned(folder).entries()] == ["a_tiny", "b_tiny", "c_sdxl"]


@pytest.mark.parametrize(
    ("base", "expected"),
    [("tiny", "face_tiny"), ("sd15", "face_v1.5"), ("sdxl", "face_sdxl")],
)
def test_a_short_name_picks_the_file_of_the_running_base(
    folder: Path, base: str, expected: str
) -> None:
    write_lora(folder / "face_tiny.safetensors", tiny_specs())
    write_lora(folder / "face_v1.5.safetensors", sd15_specs())
    write_lora(folder / "face_sdxl.safetensors", sdxl_specs())
    catalog = scanned(folder, base)

    assert catalog.resolve("face").name == expected
    assert catalog.resolve(expected).name == expected


def test_a_short_name_reaches_past_a_file_of_that_name_for_another_base(folder: Path) -> None:
    write_lora(folder / "face.safetensors", sd15_specs())
    write_lora(folder / "face_tiny.safetensors", tiny_specs())

    assert scanned(folder).resolve("face").name == "face_tiny"


def test_another_base_is_refused_in_words_that_name_the_way_out(folder: Path) -> None:
    write_lora(folder / "product_lighting_sdxl.safetensors", sdxl_specs())
    write_lora(folder / "face_v1.5.safetensors", sd15_specs())
    catalog = scanned(folder, "sd15")

    with pytest.raises(LoraBaseMismatch) as caught:
        catalog.resolve("product_lighting")

    assert str(caught.value) == (
        "'product_lighting_sdxl' was made for SDXL; this service runs SD 1.5. Choose one of: face."
    )
    assert catalog.explain("product_lighting", "zh") == (
        "“product_lighting_sdxl”是为 SDXL 训练的，本服务运行的是 SD 1.5。可以选择：face。"
    )


def test_an_unknown_name_is_told_from_a_held_back_one(folder: Path) -> None:
    write_lora(folder / "bad_tiny.safetensors", tiny_specs(), {"note": "https://casino-88.bet"})
    catalog = scanned(folder)

    with pytest.raises(LoraNotFound, match=r"There is no LoRA named 'nothing'\..*'none' runs"):
        catalog.resolve("nothing")
    with pytest.raises(LoraQuarantined, match=r"'bad_tiny' is quarantined\. Its metadata contains"):
        catalog.resolve("bad")


def test_a_kind_that_cannot_be_carried_is_refused_in_its_own_words(folder: Path) -> None:
    embedding = {"emb_params": Spec((4, 768))}
    write_lora(folder / "soft.safetensors", embedding)

    with pytest.raises(LoraBaseMismatch, match=r"'soft' cannot be used here\. It is a textual"):
        scanned(folder).resolve("soft")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../secret", "/etc/passwd", "C:\\x", "a/b", "a%2f..", "a\0b", "․․", "a\n",
     "x" * 10_000, "<img onerror>", "secret"],
)  # fmt: skip
def test_a_name_is_looked_up_and_never_opened(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lora(folder.parent / "secret.safetensors", tiny_specs())
    catalog = scanned(folder)
    # A measurement of coverage looks for the files of code that runs for the first time.
    assert catalog.find("nothing") is None
    catalog.explain("nothing")

    with pytest.raises(LoraNotFound) as caught, without_disk(monkeypatch):
        catalog.resolve(name)

    assert len(str(caught.value)) < 300


@contextmanager
def without_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the block nothing can be opened, and the disk is asked for nothing."""
    with monkeypatch.context() as patched:
        for function in ("open", "stat", "scandir", "lstat", "readlink"):
            patched.setattr(os, function, None)
        yield


def test_a_link_out_of_the_folder_is_held_back_unread_and_one_inside_is_followed(
    folder: Path,
) -> None:
    outside = write_lora(folder.parent / "outside.safetensors", tiny_specs())
    inside = write_lora(folder / "real_tiny.safetensors", tiny_specs())
    (folder / "out_tiny.safetensors").symlink_to(outside)
    (folder / "in_tiny.safetensors").symlink_to(inside)
    (folder / "loop_tiny.safetensors").symlink_to(folder / "loop_tiny.safetensors")
    (folder / "up_tiny.safetensors").symlink_to("../outside.safetensors")

    entries = {entry.name: entry for entry in scanned(folder).entries()}

    offered = [name for name, entry in entries.items() if entry.state is LoraState.AVAILABLE]
    assert offered == ["in_tiny", "real_tiny"]
    held = {name: entry for name, entry in entries.items() if name not in offered}
    assert list(held) == ["loop_tiny", "out_tiny", "up_tiny"]
    assert {entry.reason_code for entry in held.values()} == {"link_outside"}
    assert {entry.sha256 for entry in held.values()} == {""}
    assert check_file(folder / "out_tiny.safetensors").reason_code == "link_outside"
    assert check_file(folder / "in_tiny.safetensors").state is LoraState.AVAILABLE


def test_hidden_files_pipes_and_folders_are_passed_over(folder: Path) -> None:
    write_lora(folder / ".upload.safetensors", tiny_specs())
    os.mkfifo(folder / "pipe_tiny.safetensors")
    (folder / "folder_tiny.safetensors").mkdir()

    assert scanned(folder).entries() == []


def test_a_missing_folder_is_an_empty_catalogue(tmp_path: Path) -> None:
    assert scanned(tmp_path / "nowhere").entries() == []


def test_a_second_scan_reads_only_what_changed(folder: Path, read_paths: list[str]) -> None:
    # Given
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    write_lora(folder / "b_tiny.safetensors", tiny_specs())
    catalog = scanned(folder)
    first = catalog.entries()
    read_paths.clear()
    # When
    write_lora(folder / "b_tiny.safetensors", tiny_specs(rank=8))
    catalog.scan()
    # Then
    assert read_paths == ["b_tiny.safetensors"]
    assert catalog.entries()[0] is first[0]
    assert catalog.entries()[1].rank == 8


def test_a_replaced_file_is_a_new_lora_even_with_its_times_set_back(folder: Path) -> None:
    path = write_lora(folder / "a_tiny.safetensors", tiny_specs())
    catalog = scanned(folder)
    before, status = only(catalog), path.stat()

    body = bytes(len(body_of(tiny_specs())) - 2) + b"\x00\x3c"
    write_raw(path, header_of(tiny_specs()), body)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    catalog.scan()

    assert only(catalog).identity == before.identity
    assert only(catalog).sha256 != before.sha256


def test_a_removed_file_is_gone(folder: Path) -> None:
    path = write_lora(folder / "a_tiny.safetensors", tiny_specs())
    catalog = scanned(folder)

    path.unlink()
    catalog.scan()

    assert catalog.entries() == []
    with pytest.raises(LoraNotFound):
        catalog.resolve("a")


def test_a_half_written_file_waits_until_it_is_whole(folder: Path) -> None:
    path = folder / "a_tiny.safetensors"
    whole = write_lora(path, tiny_specs()).read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert scanned(folder).entries() == [], size

    path.write_bytes(whole)

    assert only(scanned(folder)).state is LoraState.AVAILABLE


def test_a_file_that_stays_half_written_is_called_broken(folder: Path) -> None:
    path = write_lora(folder / "a_tiny.safetensors", tiny_specs())
    path.write_bytes(path.read_bytes()[:-1])
    catalog = scanned(folder)
    long_ago = time.time() - PATIENCE_SECONDS

    os.utime(path, (long_ago, long_ago))
    catalog.scan()

    assert only(catalog).reason_code == "truncated"


def _markup(folder: Path) -> Path:
    return write_lora(folder / "a_tiny.safetensors", tiny_specs(), {"note": "<script>"})


def _wrong_tag(folder: Path) -> Path:
    return write_lora(
        folder / "a_sdxl.safetensors", tiny_specs(), {"ss_base_model_version": "sdxl"}
    )


@pytest.mark.parametrize("write", [_markup, _wrong_tag])
def test_a_person_can_release_what_is_merely_suspicious(
    write: Callable[[Path], Path], folder: Path
) -> None:
    # Given
    write(folder)
    catalog = scanned(folder)
    held = only(catalog)
    assert held.state is LoraState.QUARANTINED
    assert "loras.lock.toml" in (held.reason or "")
    # When
    lock = folder / "loras.lock.toml"
    lock.write_text(f'[released]\n"{held.sha256.upper()}" = "looked at, Jane"\n')
    catalog.scan()
    # Then
    assert only(catalog).state is LoraState.AVAILABLE
    assert "released in loras.lock.toml: looked at, Jane" in only(catalog).evidence
    # And a file with other bytes is held again
    write_lora(held.path, tiny_specs(rank=8), {"note": "<script>"})
    catalog.scan()
    assert only(catalog).state is LoraState.QUARANTINED


def test_no_release_helps_a_broken_file(folder: Path) -> None:
    path = folder / "a_tiny.safetensors"
    write_raw(path, header_of(tiny_specs()), body_of(tiny_specs()) + b"tail")
    catalog = scanned(folder)

    (folder / "loras.lock.toml").write_text(f'[released]\n"{only(catalog).sha256}" = "please"\n')
    catalog.scan()

    assert only(catalog).reason_code == "trailing_bytes"


@pytest.mark.parametrize("text", ["[released", "released = 3", "\x00", "[[released]]\na = 1"])
def test_a_broken_lock_file_releases_nothing_and_breaks_nothing(text: str, folder: Path) -> None:
    _markup(folder)
    (folder / "loras.lock.toml").write_text(text)

    assert only(scanned(folder)).state is LoraState.QUARANTINED


SIDECAR = """
title = {en = "Face restore", zh = "人像修复"}
treats = ["noise", "jpeg"]
default_scale = 0.8
strength = 0.35
steps = 3
sampler = "lcm"
guidance_scale = 0
fidelity = "low"
prompt = "a sharp portrait"
negative_prompt = "blur"
trigger_words = ["fcrst"]
licence = "CC0-1.0"
source = "https://example.org/made-here"
sample = "a_tiny.png"
"""


def test_a_sidecar_says_what_the_file_does_not(folder: Path) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    (folder / "a_tiny.toml").write_text(SIDECAR, encoding="utf-8")
    (folder / "a_tiny.png").write_bytes(b"")

    entry = only(scanned(folder))

    assert entry.title == {"en": "Face restore", "zh": "人像修复"}
    assert (entry.default_scale, entry.strength, entry.fidelity) == (0.8, 0.35, "low")
    assert (entry.steps, entry.sampler, entry.guidance_scale) == (3, "lcm", 0.0)
    assert entry.complaints == ()
    assert (entry.treats, entry.trigger_words) == (["noise", "jpeg"], ["fcrst"])
    assert (entry.prompt, entry.negative_prompt) == ("a sharp portrait", "blur")
    assert (entry.licence, entry.sample) == ("CC0-1.0", "a_tiny.png")
    assert entry.source == "https://example.org/made-here"
    assert entry.state is LoraState.AVAILABLE


def test_without_a_sidecar_the_name_is_the_title(folder: Path) -> None:
    write_lora(folder / "face_restore_tiny.safetensors", tiny_specs())

    entry = only(scanned(folder))

    assert entry.title == {"en": "Face restore", "zh": "Face restore"}
    assert (entry.default_scale, entry.strength, entry.prompt) == (1.0, None, None)


def test_a_changed_sidecar_is_seen_without_reading_the_weights(
    folder: Path, read_paths: list[str]
) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    catalog = scanned(folder)
    read_paths.clear()

    (folder / "a_tiny.toml").write_text('title = "New"')
    catalog.scan()

    assert only(catalog).title == {"en": "New", "zh": "New"}
    assert read_paths == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title = ", "a_tiny.toml cannot be read"),
        ("default_scale = 9", "a_tiny.toml: default_scale"),
        ("steps = 51", "a_tiny.toml: steps"),
        ('sampler = "ddim"', "a_tiny.toml: sampler"),
        ("timestep = 1000", "a_tiny.toml: timestep"),
        ("guidance_scale = 21", "a_tiny.toml: guidance_scale"),
        ("clip_skip = 2", "a_tiny.toml: clip_skip: is not a setting of a LoRA"),
        ('base = "sd15"', "a_tiny.toml: base: is not a setting"),
        ('treats = ["rust"]', "a_tiny.toml: treats"),
        ('sample = "../../etc/passwd.png"', "a_tiny.toml: sample"),
        ("prompt = '" + "x" * 1001 + "'", "a_tiny.toml: prompt"),
        ("# " + "x" * 70_000, "a_tiny.toml has more than"),
    ],
)
def test_a_slip_in_a_sidecar_is_named_and_costs_only_its_field(
    text: str, complaint: str, folder: Path
) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    (folder / "a_tiny.toml").write_text('licence = "CC0-1.0"\n' + text)

    entry = only(scanned(folder))

    assert entry.state is LoraState.AVAILABLE
    assert entry.licence == "CC0-1.0" or "toml:" not in complaint
    for said in (entry.evidence, entry.complaints):
        assert any(complaint in line for line in said), said
    assert (entry.default_scale, entry.sample, entry.treats) == (1.0, None, [])


def test_a_sample_that_is_missing_or_a_link_is_not_offered(folder: Path) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    (folder / "a_tiny.toml").write_text('sample = "a_tiny.png"')
    (folder / "a_tiny.png").symlink_to("/etc/hostname")

    assert only(scanned(folder)).sample is None


def test_digests_outlive_the_process(folder: Path, tmp_path: Path, read_paths: list[str]) -> None:
    # Given
    path = write_lora(folder / "a_tiny.safetensors", tiny_specs())
    kept = tmp_path / "data" / "digests.json"
    first = Catalog(folder, "tiny", digests=kept)
    first.scan()
    read_paths.clear()
    # When
    second = Catalog(folder, "tiny", digests=kept)
    second.scan()
    # Then
    assert read_paths == []
    assert second.entries() == first.entries()
    # And a changed file is read
    write_lora(path, tiny_specs(rank=8))
    third = Catalog(folder, "tiny", digests=kept)
    third.scan()
    assert read_paths == ["a_tiny.safetensors"]
    assert only(third).sha256 != only(first).sha256


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "\xff", json.dumps({"a": ["b"]})])
def test_broken_digests_are_read_anew(text: str, folder: Path, tmp_path: Path) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    kept = tmp_path / "digests.json"
    kept.write_text(text, encoding="latin-1")
    catalog = Catalog(folder, "tiny", digests=kept)

    catalog.scan()

    assert only(catalog).state is LoraState.AVAILABLE


def test_a_file_that_may_not_be_read_is_held_back_and_the_rest_is_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests run as root here and there, whom no permission bit stops.
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    write_lora(folder / "b_tiny.safetensors", tiny_specs())
    real = os.open

    def refusing(path: Path, *rest: int) -> int:
        if Path(path).name == "a_tiny.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refusing)
    catalog = scanned(folder)
    monkeypatch.undo()

    assert [(e.name, e.reason_code) for e in catalog.entries()] == [
        ("a_tiny", "unreadable"),
        ("b_tiny", None),
    ]
    assert "Permission denied." in (catalog.entries()[0].reason or "")


@pytest.mark.parametrize(("name", "code"), [("style.ckpt", "wrong_suffix"), ("set.ZIP", "archive")])
def test_a_file_of_another_format_is_listed_unopened_with_what_to_do(
    name: str, code: str, folder: Path
) -> None:
    (folder / name).write_bytes(b"\x80\x04")

    entry = only(scanned(folder))

    assert (entry.name, entry.reason_code, entry.sha256) == (name, code, "")
    assert "safetensors" in scanned(folder).explain(name.partition(".")[0])


@pytest.mark.parametrize("name", ["style.gguf", "style.safetensors"])
def test_a_gguf_file_is_called_that_whatever_its_ending(name: str, folder: Path) -> None:
    (folder / name).write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(100))

    entry = only(scanned(folder))

    assert entry.reason_code == "gguf"
    assert "GGUF" in (entry.reason or "")
    assert "GGUF" in (entry.reason_zh or "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("first_stage_model.decoder.conv_in.weight", "an autoencoder"),
        ("control_model.input_hint_block.0.weight", "a ControlNet"),
        ("double_blocks.0.img_attn.qkv.weight", "a FLUX network"),
        ("text_model.embeddings.token_embedding.weight", "a text encoder"),
        ("conv_first.weight", "an enlarger"),
    ],
)
def test_another_model_among_the_loras_is_called_what_it_is(
    name: str, words: str, folder: Path
) -> None:
    write_lora(folder / "model.safetensors", {name: Spec((4, 4))})

    entry = only(scanned(folder))

    assert entry.state is LoraState.INCOMPATIBLE
    assert (entry.reason_code, words in (entry.reason or "")) == ("other_model", True)


def test_a_file_in_a_subfolder_is_called_by_its_path_and_by_its_name_where_that_is_unique(
    folder: Path,
) -> None:
    for rank, name in enumerate(("a/one_tiny", "b/one_tiny", "b/c/two_tiny"), 4):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_lora(folder / f"{name}.SAFETENSORS", tiny_specs(rank=rank))
    catalog = scanned(folder)

    assert catalog.resolve("b/c/two").name == "b/c/two_tiny"
    assert catalog.resolve("two_tiny").name == "b/c/two_tiny"
    assert catalog.resolve("a/one").name == "a/one_tiny"
    with pytest.raises(LoraNotFound, match=r"Several LoRAs are called 'one': a/one_tiny, b/one_t"):
        catalog.resolve("one")


def test_several_folders_are_one_catalogue_and_links_between_them_are_followed(
    tmp_path: Path,
) -> None:
    here, there, outside = (tmp_path / name for name in ("here", "there", "outside"))
    for path in (here, there / "inner", outside):
        path.mkdir(parents=True)
    write_lora(there / "inner" / "a_tiny.safetensors", tiny_specs())
    write_lora(outside / "b_tiny.safetensors", tiny_specs(rank=8))
    (here / "linked").symlink_to(there / "inner")
    (here / "c_tiny.safetensors").symlink_to(there / "inner" / "a_tiny.safetensors")
    (here / "out").symlink_to(outside)
    (there / "loop").symlink_to(there)
    catalog = Catalog([here, there], "tiny")
    catalog.scan()

    states = {entry.name: entry.reason_code for entry in catalog.entries()}

    assert states == {
        "c_tiny": None, "inner/a_tiny": None, "linked/a_tiny": None, "out": "link_outside"
    }  # fmt: skip
    assert catalog.resolve("a").sha256 == catalog.resolve("c").sha256


@pytest.mark.parametrize(
    "name", ["人像修复", "café [v1] (final)", "🧑‍🎨 style", "Ünïcödé", "a;rm -rf", "x" * 128]
)
def test_a_name_in_any_script_is_asked_for_as_it_is_written(name: str, folder: Path) -> None:
    written = unicodedata.normalize("NFD", name) if len(name) < 100 else name
    write_lora(folder / f"{written}.safetensors", tiny_specs())
    catalog = scanned(folder)

    assert only(catalog).name == unicodedata.normalize("NFC", name)
    assert catalog.resolve(name).name == catalog.resolve(written).name


CIVITAI = {
    "name": "v2",
    "baseModel": "SD 1.5",
    "model": {"name": "Soft light"},
    "trainedWords": ["soft light", "glow, "],
}
AUTOMATIC = {"activation text": "soft light, glow", "preferred weight": 0.7, "sd version": "SD1"}


@pytest.mark.parametrize(
    ("suffix", "fields"),
    [(".civitai.info", CIVITAI), (".json", AUTOMATIC), (".metadata.json", {"civitai": CIVITAI})],
)
def test_what_other_programs_keep_beside_a_file_is_read(
    suffix: str, fields: dict[str, object], folder: Path
) -> None:
    specs = pair("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 640)
    write_lora(folder / "soft.safetensors", specs)
    (folder / f"soft{suffix}").write_text(json.dumps({"base_model": "SD 1.5", **fields}))
    (folder / "soft.preview.png").write_bytes(b"png")

    entry = only(scanned(folder, "sd15"))

    assert (entry.base, entry.state) == ("sd15", LoraState.AVAILABLE), entry.evidence
    assert entry.trigger_words == ["soft light", "glow"]
    assert entry.sample_path == folder / "soft.preview.png"
    if suffix == ".civitai.info":
        assert entry.title["en"] == "Soft light"
    if suffix == ".json":
        assert entry.default_scale == 0.7


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"trainedWords": 3, "model": []}', "\xff", "[" * 9999]
)
def test_a_broken_file_of_another_program_costs_nothing(text: str, folder: Path) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    (folder / "a_tiny.civitai.info").write_text(text, encoding="latin-1")

    assert only(scanned(folder)).state is LoraState.AVAILABLE


def test_while_a_file_is_replaced_the_one_before_it_stays(folder: Path) -> None:
    path = write_lora(folder / "a_tiny.safetensors", tiny_specs())
    catalog = scanned(folder)
    before, whole = only(catalog), write_lora(folder / "b", tiny_specs(rank=8)).read_bytes()

    path.write_bytes(whole[:-1])
    catalog.scan()

    assert catalog.resolve("a") is before
    path.write_bytes(whole)
    catalog._refresh(settle_seconds=60.0)
    assert catalog.resolve("a") is before
    catalog.scan()
    assert catalog.resolve("a").rank == 8


def test_what_a_worker_could_not_read_is_no_longer_offered(folder: Path) -> None:
    write_lora(folder / "a_tiny.safetensors", tiny_specs())
    sha256 = only(scanned(folder)).sha256
    failed = {sha256: Suspension("", 0, "unet.conv_in")}
    catalog = Catalog(folder, "tiny", suspended=lambda: failed)
    catalog.scan()

    assert only(catalog).reason_code == "failed_on_worker"
    assert "unet.conv_in" in (only(catalog).reason or "")


def test_tensors_that_the_running_base_has_no_place_for_are_named(folder: Path) -> None:
    modules = published_modules("sd15")
    specs = merge(
        [
            pair("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", 768, 640),
            pair("unet.down_blocks.10.attentions.0.transformer_blocks.0.attn2.to_k", 768, 640),
            pair("unet.down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k", 768, 641),
        ]
    )
    write_lora(folder / "a.safetensors", specs)
    catalog = Catalog(folder, "sd15", modules=modules)
    catalog.scan()

    entry = only(catalog)

    assert (entry.state, entry.reason_code) == (LoraState.INCOMPATIBLE, "no_such_module")
    assert entry.unplaced == tuple(name for name in specs if "blocks.1." not in name)


CROSS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"


def test_names_of_no_known_dialect_are_taken_if_each_has_a_place(folder: Path) -> None:
    write_lora(folder / "a.safetensors", pair(f"module.{CROSS}", 768, 640))
    catalog = Catalog(folder, "sd15", modules=published_modules("sd15"))
    catalog.scan()

    assert only(catalog).state is LoraState.AVAILABLE


@pytest.mark.parametrize(
    ("name", "state"),
    [
        (f"unet.{CROSS}.scale", LoraState.INCOMPATIBLE),
        (f"unet.{CROSS}.lora_A.scale_weight", LoraState.INCOMPATIBLE),
        ("scaled_fp8", LoraState.AVAILABLE),
        ("iteration", LoraState.AVAILABLE),
    ],
)
def test_a_number_that_may_change_a_layer_is_never_passed_over(
    name: str, state: LoraState, folder: Path
) -> None:
    write_lora(folder / "a.safetensors", {**pair(f"unet.{CROSS}", 768, 640), name: Spec((1,))})
    catalog = Catalog(folder, "sd15", modules=published_modules("sd15"))
    catalog.scan()

    entry = only(catalog)

    assert entry.state is state
    assert entry.unplaced == ((name,) if state is LoraState.INCOMPATIBLE else ())


@pytest.mark.parametrize(
    "config",
    [
        {"cross_attention_dim": 64},
        dict.fromkeys(("block_out_channels", "down_block_types", "up_block_types"), 3)
        | {"layers_per_block": 1},
    ],
)
def test_a_base_whose_configuration_leaves_modules_open_judges_none(
    config: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text("{}")

    assert modules_of(str(tmp_path)) is None


def test_a_base_among_the_loras_is_told_where_it_belongs(folder: Path) -> None:
    names = ("model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.w")
    write_lora(folder / "dream.safetensors", dict.fromkeys(names, Spec((4, 4))))

    [entry] = scanned(folder).entries()

    assert entry.state is LoraState.INCOMPATIBLE
    assert entry.reason_code == "base_checkpoint"
    assert "retouch worker --base" in (entry.reason or "")
