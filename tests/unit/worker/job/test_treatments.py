"""What is expected of the shipped LoRAs, and which of them is offered."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from shared.settings import REPOSITORY
from worker.job import treatments
from worker.job.damage_measures import kept_when_shrunk
from worker.job.treatments import best_treatment, calibrated, usual_treatment
from worker.training.damage.blurring import gaussian

ONE = np.ones(1)


@pytest.fixture(scope="module")
def shipped() -> list[LoraEntry]:
    catalog = Catalog(REPOSITORY / "loras", "tiny")
    catalog.scan()
    return catalog.entries()


@pytest.fixture
def known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: list[LoraEntry]
) -> Iterator[list[LoraEntry]]:
    """Two LoRAs, of which the second promises twice as much as the first: 2 decibels for a measure
    above 0, and -2 for others.
    """
    first, second = shipped[:2]
    tried = [
        {"sha256": first.sha256, "strength": 0.1, "levels": 1},
        {"sha256": second.sha256, "strength": 0.3, "levels": 2},
    ]
    content = {
        "tried": tried,
        "usual": {"blur": {"tried": 0, "gain": 3.0}},
        "trees": [
            {
                "measure": [0, -1, -1],
                "at": [0.0, 0.0, 0.0],
                "below": [1, 0, 1],
                "above": [2, 0, 1],
                "outputs": [[-1.0, -2.0], [1.0, 2.0]],
            }
        ],
    }
    path = tmp_path / "gains.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(treatments, "GAINS", path)
    treatments._known.cache_clear()
    yield [first, second]
    treatments._known.cache_clear()


def test_every_shipped_lora_was_tried_as_it_is_now(shipped: list[LoraEntry]) -> None:
    # python -m benchmarks.calibrate_treatments is to be run again after a training
    assert {entry.sha256 for entry in shipped} == calibrated()


def test_the_one_that_promises_most_is_offered_with_its_way(known: list[LoraEntry]) -> None:
    best = best_treatment(ONE, known, whole)
    assert best is not None
    assert (best.entry, best.strength, best.levels, best.gain) == (known[1], 0.3, 2, 2.0)
    worse = best_treatment(-ONE, known, whole)
    assert worse is not None
    assert (worse.entry, worse.gain) == (known[0], -1.0)


def whole(share: float) -> float:
    """A photo that loses nothing when it is shrunk."""
    del share
    return 60.0


def test_a_redrawing_that_promises_nearly_as_much_is_preferred_where_it_loses_nothing(
    known: list[LoraEntry],
) -> None:
    # Given that the LoRA with the smaller promise, of 1 decibel against 2, works on a smaller photo
    asked: list[float] = []

    def kept(decibels: float) -> Callable[[float], float]:
        return lambda share: asked.append(share) or decibels  # type: ignore[func-returns-value]

    redraws = [known[0].model_copy(update={"shrink": 0.6}), known[1]]

    def chosen(decibels: float) -> LoraEntry:
        best = best_treatment(ONE, redraws, kept(decibels))
        assert best is not None
        assert best.gain == 2.0
        return best.entry

    # At the strength that was tried it redraws too little to be preferred
    assert chosen(60.0) == redraws[1]
    assert not asked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(treatments, "REDRAWN_AT_LEAST", 0.1)
        assert chosen(60.0) == redraws[0]
        assert asked == [0.6]
        # But not where shrinking loses detail, or where it promises too little
        assert chosen(40.0) == redraws[1]
        patch.setattr(treatments, "MOST_GIVEN_UP", 0.5)
        assert chosen(60.0) == redraws[1]


def test_a_soft_photo_keeps_more_when_it_is_shrunk_than_a_sharp_one() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (900, 1700, 3), dtype=np.uint8)
    soft = gaussian(fine, 3.0)
    sharp, kept = kept_when_shrunk(fine, 0.6), kept_when_shrunk(soft, 0.6)
    assert sharp < 20
    assert kept > 44
    assert kept_when_shrunk(np.full((20, 30, 3), 7, np.uint8), 0.6) > 60


def test_one_that_is_held_back_is_not_offered(known: list[LoraEntry]) -> None:
    held = known[1].model_copy(update={"state": LoraState.QUARANTINED})
    best = best_treatment(ONE, [known[0], held], whole)
    assert best is not None
    assert best.entry == known[0]


def test_of_files_that_were_never_tried_nothing_is_known(known: list[LoraEntry]) -> None:
    another = known[0].model_copy(update={"sha256": "0" * 64})
    assert best_treatment(ONE, [another], whole) is None


def test_what_is_usual_for_a_sort_of_damage_is_offered_while_it_is_available(
    known: list[LoraEntry],
) -> None:
    usual = usual_treatment("blur", known)
    assert usual is not None
    assert (usual.entry, usual.strength, usual.levels, usual.gain) == (known[0], 0.1, 1, 3.0)
    held = known[0].model_copy(update={"state": LoraState.QUARANTINED})
    assert usual_treatment("blur", [held, known[1]]) is None
    assert usual_treatment("noise", known) is None
