"""Room for one more job: asked for before an upload is read, and not of every request."""

from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest

from api.access.keys import ANONYMOUS, DEFAULT_SCOPES, Caller
from api.access.shares import Shares
from api.jobs.capacity import AMPLE_BYTES, AMPLE_JOBS, REMEMBERED_SECONDS, Capacity
from shared.errors import QueueFull
from shared.ledger.store import JobStore
from shared.settings import Settings

SOMEBODY = Caller(ANONYMOUS, DEFAULT_SCOPES, is_known=False)
KEY = Caller("team", DEFAULT_SCOPES, is_known=True)


class Room:
    """A queue and a disk with so much room, and how often they were asked."""

    def __init__(self, jobs: int, size: int | None) -> None:
        self.jobs, self.size, self.asked = jobs, size, 0

    def check_queue(self) -> int:
        self.asked += 1
        if self.jobs <= 0:
            raise QueueFull()
        return self.jobs

    def check_room(self) -> int | None:
        return self.size


@pytest.fixture
def asked(store: JobStore, make_settings: Callable[..., Settings]) -> Callable[..., int]:
    def ask(room: Room, caller: Caller, apart: float) -> int:
        """How often the store is asked for four requests, so many seconds apart."""
        now = [100.0]
        shares = Shares(store, make_settings(jobs_per_key=5))
        capacity = Capacity(cast(Any, room), cast(Any, room), shares, clock=lambda: now[0])
        for _ in range(4):
            anyio.run(capacity.check, caller)
            now[0] += apart
        return room.asked

    return ask


@pytest.mark.parametrize("size", [AMPLE_BYTES, None])
def test_ample_room_is_asked_for_once_a_moment(asked: Callable[..., int], size: int | None) -> None:
    assert asked(Room(AMPLE_JOBS, size), SOMEBODY, REMEMBERED_SECONDS / 5) == 1
    assert asked(Room(AMPLE_JOBS, size), SOMEBODY, REMEMBERED_SECONDS * 1.1) == 4


def test_what_may_be_used_up_at_once_is_asked_for_by_every_request(
    asked: Callable[..., int],
) -> None:
    assert asked(Room(AMPLE_JOBS - 1, None), SOMEBODY, 0.0) == 4
    assert asked(Room(AMPLE_JOBS, AMPLE_BYTES - 1), SOMEBODY, 0.0) == 4
    assert asked(Room(AMPLE_JOBS, None), KEY, 0.0) == 4


def test_a_queue_that_is_full_refuses_every_request(asked: Callable[..., int]) -> None:
    with pytest.raises(QueueFull):
        asked(Room(0, None), SOMEBODY, 0.0)
