"""The folder of enlargers is followed while the service runs, and one is chosen from it."""

from pathlib import Path

import pytest

from shared.loras.entry import LoraState
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import choose, passes
from tests.support.wait import wait_until
from tests.unit.upscalers.upscaler_files import COMPACT, FOLDED, RRDB, tensors_of, write_plain
from tests.unit.upscalers.upscaler_files import write_pickled as write_checkpoint


def names(catalog: UpscalerCatalog) -> list[str]:
    return [entry.name for entry in catalog.entries() if entry.is_available]


def test_a_file_that_is_dropped_in_is_offered_replaced_and_forgotten(tmp_path: Path) -> None:
    catalog = UpscalerCatalog(tmp_path)
    catalog.watch()
    try:
        path = write_plain(tmp_path / "one.safetensors", tensors_of(FOLDED))
        wait_until(lambda: names(catalog) == ["one"], description="the file is offered")
        first = catalog.resolve("one").sha256
        write_plain(path, tensors_of(FOLDED, seed=1))
        wait_until(
            lambda: names(catalog) == ["one"] and catalog.resolve("one").sha256 != first,
            description="the new file is offered under the old name",
        )
        path.unlink()
        wait_until(lambda: not names(catalog), description="the file is forgotten")
    finally:
        catalog.close()


def test_half_a_file_waits_and_is_not_called_broken(tmp_path: Path) -> None:
    whole = write_plain(tmp_path / "one.safetensors", tensors_of(FOLDED)).read_bytes()
    (tmp_path / "one.safetensors").write_bytes(whole[: len(whole) // 2])
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    assert catalog.entries() == []
    (tmp_path / "one.safetensors").write_bytes(whole)
    catalog.scan()
    assert names(catalog) == ["one"]


def test_of_two_files_with_one_name_the_safe_format_keeps_it(tmp_path: Path) -> None:
    write_plain(tmp_path / "one.safetensors", tensors_of(FOLDED))
    write_checkpoint(tmp_path / "one.pth", tensors_of(COMPACT))
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    assert catalog.resolve("one").architecture == FOLDED
    states = [(entry.state, entry.reason_code) for entry in catalog.entries()]
    assert sorted(states) == [
        (LoraState.AVAILABLE, None),
        (LoraState.INCOMPATIBLE, "same_name"),
    ]


def test_a_sidecar_gives_title_and_licence(tmp_path: Path) -> None:
    write_plain(tmp_path / "one.safetensors", tensors_of(FOLDED))
    (tmp_path / "one.toml").write_text('title = "One"\nlicence = "MIT"\n')
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    entry = catalog.resolve("one")
    assert (entry.title["zh"], entry.licence) == ("One", "MIT")


def test_a_processor_takes_ours_and_a_gpu_the_large_one(tmp_path: Path) -> None:
    for name, architecture in [
        ("retouch", FOLDED), ("realesrgan_x4plus", RRDB), ("another", COMPACT),
    ]:  # fmt: skip
        write_plain(tmp_path / f"{name}.safetensors", tensors_of(architecture))
    catalog = UpscalerCatalog(tmp_path)
    catalog.scan()
    for device, expected in [("cpu", "retouch"), ("gpu", "realesrgan_x4plus")]:
        chosen = choose(catalog.entries(), 2, device)
        assert chosen is not None
        assert chosen.name == expected
    others = [entry for entry in catalog.entries() if entry.name == "another"]
    assert choose(others, 4, "cpu") == others[0]
    assert choose([], 2, "cpu") is None


@pytest.mark.parametrize(
    ("factors", "wanted", "expected"),
    [((2, 4), 2, [2]), ((2, 4), 3, [4]), ((4,), 2, [4]), ((2,), 4, [2, 2]), ((2,), 3, [2, 2]),
     ((1,), 1, [1])],
)  # fmt: skip
def test_factors_are_made_of_what_a_network_can_do(
    factors: tuple[int, ...], wanted: int, expected: list[int]
) -> None:
    assert passes(factors, wanted) == expected
