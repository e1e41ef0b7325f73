"""The measured damage of a photo, and the LoRA that is picked for it."""

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from shared.loras.catalog import Catalog
from shared.loras.entry import Damage, LoraEntry, LoraKind, LoraState
from shared.settings import REPOSITORY
from worker.job.damage import MIN_CERTAINTY, Diagnosis, choose, diagnose
from worker.job.damage_measures import (
    MAX_SIDE,
    is_white_noise,
    measure,
    measure_colours,
    windows,
)
from worker.training.damage import RANGES, SORTS, Kind, Pixels, degrade


def offered(
    name: str, *treats: Damage, state: LoraState = LoraState.AVAILABLE, scale: float = 1.0
) -> LoraEntry:
    return LoraEntry(
        name=f"{name}_tiny",
        short_name=name,
        path=Path(f"{name}_tiny.safetensors"),
        title={},
        base="tiny",
        bases=["tiny"],
        kind=LoraKind.LORA,
        rank=32,
        scheme="peft",
        state=state,
        reason_code=None,
        reason=None,
        reason_zh=None,
        evidence=[],
        default_scale=scale,
        strength=0.4,
        fidelity="low",
        treats=list(treats),
        trigger_words=[],
        prompt=None,
        negative_prompt=None,
        licence=None,
        source=None,
        sample=None,
        size_bytes=1,
        sha256="0" * 64,
        identity=(0, 0, 0, 0),
    )


EVERYTHING = [
    offered("denoise", "noise"),
    offered("deblur", "blur"),
    offered("dejpeg", "jpeg"),
    offered("lowres", "lowres"),
    offered("face_restore", "phone"),
]


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return np.asarray(data.coffee())


def damaged(photo: Pixels, kind: Kind) -> Pixels:
    return degrade(photo, kind, RANGES[kind].middle, np.random.default_rng(0))


def test_an_undamaged_photo_is_left_alone_with_the_least_strength(photo: Pixels) -> None:
    choice = choose(photo, EVERYTHING)
    assert choice.loras == ()
    assert choice.strength == 0.1
    assert "left nearly as it is" in choice.reason["en"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("noise", "denoise"),
        ("blur", "deblur"),
        ("jpeg", "dejpeg"),
        ("lowres", "lowres"),
        ("phone", "face_restore"),
    ],
)
def test_each_kind_of_damage_gets_the_lora_that_treats_it(
    photo: Pixels, kind: Kind, name: str
) -> None:
    choice = choose(damaged(photo, kind), EVERYTHING)
    assert [entry.short_name for entry, _ in choice.loras] == [name]
    assert name in choice.reason["en"]
    assert name in choice.reason["zh"]


@pytest.mark.parametrize(
    ("kind", "level"),
    [("lowres", 2.0), ("lowres", 4.0), ("phone", 0.5), ("blur", 1.0), ("jpeg", 40)],
)
def test_round_factors_and_the_ends_of_the_range_are_told_apart(
    photo: Pixels, kind: Kind, level: float
) -> None:
    # An enlargement by exactly two repeats itself every two pixels, and was once taken for blocks.
    found = diagnose(degrade(photo, kind, level, np.random.default_rng(0)))
    assert found.kind == kind


def test_what_is_known_too_little_is_left_alone_and_told_so(
    photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure = Diagnosis("phone", MIN_CERTAINTY - 0.01, 1.0)
    monkeypatch.setattr("worker.job.damage.diagnosed", lambda _measures: unsure)
    choice = choose(photo, EVERYTHING)
    assert (choice.loras, choice.strength) == ((), 0.1)
    assert "uncertain" in choice.reason["en"]
    assert "不够确定" in choice.reason["zh"]


@pytest.mark.parametrize("kind", ["noise", "blur", "jpeg", "lowres"])
def test_the_level_is_measured_too(photo: Pixels, kind: Kind) -> None:
    found = diagnose(damaged(photo, kind))
    assert found.kind == kind
    assert found.certainty >= MIN_CERTAINTY
    assert found.level == pytest.approx(RANGES[kind].middle, rel=0.4)


def test_the_default_scale_of_the_lora_is_used(photo: Pixels) -> None:
    choice = choose(damaged(photo, "noise"), [offered("gentle", "noise", scale=0.6)])
    assert [scale for _, scale in choice.loras] == [0.6]


def test_the_most_special_lora_wins(photo: Pixels) -> None:
    both = [offered("all_round", "noise", "jpeg", "blur"), offered("z_denoise", "noise")]
    choice = choose(damaged(photo, "noise"), both)
    assert [entry.short_name for entry, _ in choice.loras] == ["z_denoise"]


def test_a_lora_that_is_held_back_is_never_picked(photo: Pixels) -> None:
    held = [offered("denoise", "noise", state=LoraState.QUARANTINED)]
    choice = choose(damaged(photo, "noise"), held)
    assert choice.loras == ()
    assert "no available LoRA treats it" in choice.reason["en"]


@pytest.mark.parametrize("size", [(16, 16), (17, 300), (300, 17), (63, 65)])
def test_small_and_narrow_pictures_are_measured_too(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.isfinite(diagnose(pixels).level)


def test_a_flat_picture_does_not_upset_the_measures() -> None:
    found = diagnose(np.full((64, 64, 3), 200, np.uint8))
    assert 0 <= found.certainty <= 1
    assert np.isfinite(found.level)


def test_a_large_photo_is_measured_at_its_own_size_on_a_few_windows(photo: Pixels) -> None:
    # Given a large photo with the sky in its middle
    large = np.tile(photo, (7, 7, 1))[:1600, :1600]
    large[500:1100, 500:1100] = 200
    # Then what is wrong with the rest of it is seen, and no more of it is looked at than that
    found = diagnose(damaged(large, "noise"))
    assert found.kind == "noise"
    assert len(windows(large)) == 5
    assert all(max(window.shape) <= MAX_SIDE for window in windows(large))


def test_noise_of_colour_alone_is_measured() -> None:
    clean = np.full((128, 128, 3), 128, np.uint8)
    random = np.random.default_rng(0)
    red, blue = random.normal(0, 12, (2, 128, 128))
    # Green makes up for both, so that the luma stays as it is.
    noise = np.stack([red, -(0.299 * red + 0.114 * blue) / 0.587, blue], axis=-1)
    noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)

    assert abs(measure(noisy)[0] - measure(clean)[0]) < 2
    assert (measure_colours(noisy) > measure_colours(clean) + 1.5).all()


@pytest.mark.parametrize(
    ("kind", "name"), [("blur", "deblur"), ("jpeg", "dejpeg"), ("noise", "strong_denoise")]
)
def test_of_the_shipped_loras_the_usual_one_for_a_certain_kind_is_taken(
    photo: Pixels, kind: Kind, name: str
) -> None:
    catalog = Catalog(REPOSITORY / "loras", "tiny")
    catalog.scan()
    own = [*catalog.entries(), offered("a_of_somebody", kind)]
    choice = choose(damaged(photo, kind), own)
    assert [entry.short_name for entry, _ in choice.loras] == [name]
    assert name in choice.reason["en"]


def test_noise_that_was_processed_is_told_from_white_noise(photo: Pixels) -> None:
    def is_white(sort: str, level: float) -> bool:
        noisy = SORTS[sort].make(photo, level, np.random.default_rng(3))
        return is_white_noise(measure(noisy), measure_colours(noisy))

    assert is_white("white", 12)
    assert is_white("white", 25)
    assert not is_white("correlated", 12)
    assert not is_white("grain", 12)
    assert not is_white("bayer", 12)
