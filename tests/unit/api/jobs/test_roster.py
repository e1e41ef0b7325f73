"""Which bases are served now, as the gateway remembers it."""

import redis

from api.jobs.roster import Roster
from shared.ledger.fleet import Fleet
from shared.ledger.roster import ServedBase
from tests.support.fleet import live_worker


def test_the_first_worker_is_seen_at_once(redis_client: redis.Redis) -> None:
    fleet = Fleet(redis_client)
    roster = Roster(fleet, ServedBase("tiny"))
    assert roster.served() == []

    fleet.announce(live_worker("w"))

    assert [base.name for base in roster.served()] == ["tiny"]
