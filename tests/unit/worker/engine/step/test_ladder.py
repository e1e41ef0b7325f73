"""The ladder by itself: who gives up what, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from worker.engine.base.offload_slot import OffloadSlot
from worker.engine.step.ladder import DoesNotFit, Ladder


@dataclass(eq=False)
class Row:
    """A row that needs so much memory, and less once something was given up for it."""

    needs: int
    done: int = 0
    degraded: list[str] = field(default_factory=list)
    max_batch: int | None = None

    def degrade(self, *codes: str) -> None:
        self.degraded += [code for code in codes if code not in self.degraded]

    def fit_among(self, count: int) -> None:
        self.max_batch = count
        self.degrade("smaller_batch")


class Device:
    """So much memory, of which each rung frees some until it is taken back."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.freed: dict[str, int] = {}
        self.tried: list[int] = []
        self.can_restore = True

    def evict_adapters(self) -> bool:
        return False

    def tile(self) -> bool:
        return self._free("tile", 2)

    def offload(self) -> bool:
        return self._free("offload", 4)

    def restore(self) -> None:
        if not self.can_restore:
            raise torch.OutOfMemoryError
        self.freed.clear()

    def work(self, rows: list[Row]) -> None:
        self.tried.append(len(rows))
        if sum(row.needs for row in rows) > self.memory + sum(self.freed.values()):
            raise torch.OutOfMemoryError
        for row in rows:
            row.done += 1

    def _free(self, what: str, much: int) -> bool:
        is_new = what not in self.freed
        self.freed[what] = much
        return is_new


def test_rows_that_do_not_fit_together_only_keep_smaller_company() -> None:
    device = Device(memory=4)
    rows = [Row(1) for _ in range(8)]
    Ladder(device).climb(rows, device.work)
    assert [row.done for row in rows] == [1] * 8
    assert {row.max_batch for row in rows} == {4}
    assert {code for row in rows for code in row.degraded} == {"smaller_batch"}
    assert device.tried == [8, 8, 4, 4]


def test_only_the_row_that_does_not_fit_alone_climbs_further() -> None:
    device = Device(memory=4)
    rows = [Row(1), Row(1), Row(6), Row(1)]
    Ladder(device).climb(rows, device.work)
    assert [row.done for row in rows] == [1] * 4
    assert rows[2].degraded == ["smaller_batch", "vae_tiling"]
    assert all(row.degraded == ["smaller_batch"] for row in rows if row is not rows[2])


def test_above_the_last_rung_the_others_have_what_they_gave_up_and_nothing_more() -> None:
    device = Device(memory=4)
    rows = [Row(1), Row(99), Row(1)]
    with pytest.raises(DoesNotFit) as caught:
        Ladder(device).climb(rows, device.work)
    assert caught.value.row is rows[1]
    assert rows[1].degraded == ["smaller_batch", "vae_tiling", "model_offload"]
    assert (rows[0].done, rows[0].degraded) == (1, ["smaller_batch"])


def test_what_one_row_needed_is_taken_back_for_the_next() -> None:
    device, needy, modest = Device(memory=4), Row(9), Row(4)
    ladder = Ladder(device)
    ladder.climb([needy], device.work)
    ladder.climb([modest], device.work)
    assert (modest.degraded, device.freed) == ([], {})
    # And given up again where it is needed again, without being tried without
    device.tried.clear()
    ladder.climb([needy], device.work)
    assert device.tried == [1]


def test_what_cannot_be_taken_back_is_told_to_the_row_that_goes_on_without() -> None:
    device, needy, modest = Device(memory=4), Row(9), Row(4)
    ladder = Ladder(device)
    ladder.climb([needy], device.work)
    device.can_restore = False
    ladder.climb([modest], device.work)
    assert modest.done == 1
    assert modest.degraded == ["model_offload", "vae_tiling"]
    device.can_restore = True
    ladder.climb([third := Row(4)], device.work)
    assert (third.degraded, device.freed) == ([], {})


class Module(torch.nn.Module):
    """A module that says where it is, and may find no room there."""

    def __init__(self, has_room: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self.place, self._has_room = "cuda", has_room

    def to(self, device: object) -> "Module":  # type: ignore[override]
        self.place = str(device)
        if self.place != "cpu" and not self._has_room():
            raise torch.OutOfMemoryError
        return self


def test_modules_that_take_turns_are_never_on_the_device_together() -> None:
    class Encoder(Module):
        def forward(self) -> list[str]:
            return [module.place for module in modules]

    modules = [Encoder(), Encoder()]
    offload_slot = OffloadSlot(modules, torch.device("cuda"), in_turn=True)
    assert offload_slot.offload()
    with offload_slot.present():
        assert modules[0]() == ["cuda", "cpu"]
        assert modules[1]() == ["cpu", "cuda"]
    assert [module.place for module in modules] == ["cpu", "cpu"]
    assert modules[0]() == ["cpu", "cpu"]


def test_modules_that_find_no_room_stay_parked_together_until_there_is_some() -> None:
    room = False
    modules = [Module(), Module(lambda: room)]
    offload_slot = OffloadSlot(modules, torch.device("cuda"))
    assert offload_slot.offload()
    for come in (offload_slot.restore, lambda: offload_slot.present().__enter__()):
        with pytest.raises(torch.OutOfMemoryError):
            come()
        assert [module.place for module in modules] == ["cpu", "cpu"]
    room = True
    offload_slot.restore()
    assert [module.place for module in modules] == ["cuda", "cuda"]
    assert offload_slot.offload()
