"""The store is killed, cut off, full or frozen: what was acknowledged is kept, and work goes on."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from shared.errors import RetouchError
from shared.jobs import JobSpec
from shared.ledger.redis_client import connect
from shared.ledger.scripts import source
from shared.ledger.store import JobStore
from tests.chaos.conftest import MakeRig
from tests.chaos.figures import keep, size, spread, within
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.chaos.rig import Rig, answers
from tests.chaos.servers import KINDS, StoreServer
from tests.support.sentinels import running_group
from tests.support.wait import wait_until


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> str:
    """These hold for either store."""
    return str(request.param)


def first_claim_after(rig: Rig, moment: float, seconds: float = 60) -> float:
    """Seconds from a moment to the next claim of any worker."""

    def later() -> list[float]:
        return [line["t"] for line in rig.history.lines("claimed") if line["t"] > moment]

    found = wait_until(later, description="a claim", seconds=seconds, every=0.02)
    return found[0] - moment


def every_worker_has_claimed_after(rig: Rig, moment: float, seconds: float = 90) -> float:
    """Seconds from a moment to when each worker has claimed something since."""

    def latest() -> float:
        claims = [line for line in rig.history.lines("claimed") if line["t"] > moment]
        first = [
            min((line["t"] for line in claims if worker.owns(line["worker"])), default=0.0)
            for worker in rig.workers
        ]
        return max(first) if all(first) else 0.0

    description = "a claim by every worker"
    return wait_until(latest, description=description, seconds=seconds, every=0.05) - moment


def finish(rig: Rig, specs: list[JobSpec], seconds: float = 120) -> None:
    rig.assert_all(rig.wait_for_end(specs, seconds))
    rig.settle()
    rig.check()


def test_g6_a_killed_store_loses_nothing_that_it_acknowledged(
    make_rig: MakeRig, server: StoreServer, store_kind: str
) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_workers(2)
    back = []
    with Load(rig, 0.15) as load:
        for _ in range(size(50, 5)):
            time.sleep(1 + rig.random.random())
            server.kill()
            time.sleep(rig.random.random())
            back.append(first_claim_after(rig, server.start()))
    finish(rig, load.specs)
    keep(f"g6.{store_kind}", kills=len(back), seconds=spread(back), **rig.tally(load.specs))
    assert max(back) <= within(5)


def test_work_goes_on_soon_after_a_long_outage_of_the_store(
    make_rig: MakeRig, server: StoreServer
) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_workers(2)
    # Given jobs that wait while the store is away for longer than a lease
    specs = [rig.submit(steps=30) for _ in range(8)]
    rig.wait_for_step(specs[0], 2)
    server.kill()
    time.sleep(size(60, 14))
    # When it is back
    claimed = first_claim_after(rig, server.start())
    # Then no running job has been taken from its worker
    finish(rig, specs)
    assert claimed <= within(5)
    starts = [len(rig.history.lines("claimed", job=spec.id)) for spec in specs]
    assert set(starts) == {1}


def test_g7_black_holed_connections_lose_nothing(
    make_rig: MakeRig, proxy: Proxy, store_kind: str
) -> None:
    rig = make_rig(url=f"redis://127.0.0.1:{proxy.port}/0", fake_step_seconds=0.02)
    rig.start_workers(2)
    back = []
    with Load(rig, 0.2, steps=16) as load:
        for _ in range(size(20, 3)):
            time.sleep(2 + rig.random.random())
            cut_at = time.monotonic()
            assert proxy.black_hole() > 0
            back.append(every_worker_has_claimed_after(rig, cut_at))
    finish(rig, load.specs)
    keep(f"g7.{store_kind}", cuts=len(back), seconds=spread(back), **rig.tally(load.specs))
    assert max(back) <= within(15)


@pytest.mark.parametrize(("script", "reached"), [("claim", "claimed"), ("commit", "committed")])
def test_a_claim_or_commit_whose_answer_got_lost_is_neither_lost_nor_done_twice(
    make_rig: MakeRig, proxy: Proxy, script: str, reached: str
) -> None:
    rig = make_rig(url=f"redis://127.0.0.1:{proxy.port}/0", fake_step_seconds=0.02)
    rig.start_worker(admission_window=1)
    digest = rig.client.script_load(source(script))
    # Given a worker whose next claim, or commit, is carried out and not answered
    proxy.lose_answer_to(str(digest).encode())
    spec = rig.submit()
    wait_until(lambda: not proxy.is_waiting(), description=f"a {script}", seconds=30)
    lost_at = time.monotonic()
    # Then it asks again, and is told what it would have been told
    told = wait_until(lambda: rig.history.lines(reached), description=reached, seconds=60)
    finish(rig, [spec])
    assert [line["epoch"] for line in rig.history.lines("claimed")] == [1]
    keep(f"answer_lost.{script}", seconds=round(told[0]["t"] - lost_at, 2))


def fill(client: redis.Redis) -> None:
    """Leave the store without memory, by a limit below what it uses already."""
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]) // 2)


def test_g8_a_full_store_refuses_at_once_and_loses_nothing(
    make_rig: MakeRig, store_kind: str
) -> None:
    rig = make_rig(fake_step_seconds=0.05)
    rig.start_workers(2)
    back, refusals, specs = list[float](), list[float](), list[JobSpec]()
    for _ in range(size(10, 2)):
        with Load(rig, 0.1) as load:
            time.sleep(1)
            fill(rig.client)
            full_at = time.monotonic()
            time.sleep(10)
            relieved_at = time.monotonic()
            rig.client.config_set("maxmemory", 0)
            back.append(every_worker_has_claimed_after(rig, relieved_at))
        specs += load.specs
        whole = [one for one in load.answers if full_at < one[0] and sum(one[:2]) < relieved_at]
        assert {code for _, _, code in whole} == {"storage_full"}
        refusals += [took for _, took, _ in whole]
    finish(rig, specs)
    keep(
        f"g8.{store_kind}",
        times=len(back),
        **rig.tally(specs),
        refused=len(refusals),
        refusal_seconds=spread(refusals),
        seconds=spread(back),
    )
    assert max(back) <= within(5)
    assert spread(refusals)["p99"] <= within(0.25)


def test_a_frozen_store_is_said_within_two_seconds(make_rig: MakeRig, server: StoreServer) -> None:
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_worker()
    rig.assert_all(rig.wait_for_end([rig.submit()], 30))
    impatient = JobStore(connect(server.url), rig.settings)
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(RetouchError, match="does not answer"):
        impatient.submit(rig.make_job())
    assert time.monotonic() - began < within(3)
    time.sleep(4)
    server.signal(signal.SIGCONT)
    finish(rig, [rig.submit()])


def set_option(name: str, value: str) -> Callable[[redis.Redis], object]:
    return lambda client: client.config_set(name, value)


def command(*words: str) -> Callable[[redis.Redis], object]:
    return lambda client: client.execute_command(*words)


def keep_busy(client: redis.Redis) -> None:
    """A script that does not end by itself; from then on the store answers BUSY."""
    client.config_set("busy-reply-threshold", 100)
    endless = "while true do end"
    threading.Thread(target=lambda: suppressed(client, endless), daemon=True).start()


def suppressed(client: redis.Redis, script: str) -> None:
    with suppress(redis.RedisError):
        client.eval(script, 0)


# How each trouble begins and ends, and what a submission is told meanwhile.
TROUBLES = {
    "NOREPLICAS": (
        set_option("min-replicas-to-write", "1"),
        set_option("min-replicas-to-write", "0"),
        {"store_unavailable"},
    ),
    "READONLY": (
        command("REPLICAOF", "127.0.0.1", "1"),
        command("REPLICAOF", "NO", "ONE"),
        {"store_unavailable"},
    ),
    "OOM": (set_option("maxmemory", "1"), set_option("maxmemory", "0"), {"storage_full"}),
    "NOPERM": (
        command("ACL", "SETUSER", "default", "-eval", "-evalsha"),
        command("ACL", "SETUSER", "default", "+@all"),
        {"store_unavailable"},
    ),
    "BUSY": (keep_busy, command("SCRIPT", "KILL"), {"store_unavailable"}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_store_that_refuses_for_a_while_loses_nothing_and_stops_no_loop(
    make_rig: MakeRig, trouble: str
) -> None:
    begin, end, codes = TROUBLES[trouble]
    rig = make_rig(fake_step_seconds=0.02)
    rig.start_workers(2)
    address = rig.start_gateway()
    with Load(rig, 0.1) as load:
        time.sleep(1)
        begin(rig.client)
        time.sleep(0.5)
        began_at = time.monotonic()
        time.sleep(6)
        ended_at = time.monotonic()
        end(rig.client)
        back = every_worker_has_claimed_after(rig, time.monotonic())
    finish(rig, load.specs)

    told = {code for at, took, code in load.answers if began_at < at and at + took < ended_at}
    assert told <= {*codes, None}
    assert told & codes
    # Every loop goes on: a worker that is killed now is noticed, and its job is done by the other
    spec = rig.submit(steps=50)
    rig.wait_for_step(spec, 2)
    owner = next(worker for worker in rig.workers if worker.owns(rig.store.get(spec.id).worker))
    owner.kill_tree()
    rig.workers.remove(owner)
    finish(rig, [spec])
    assert answers(f"{address}/readyz")
    keep(f"refuses.{trouble}", seconds=round(back, 2), **rig.tally(load.specs))
    assert back <= within(5)


@pytest.mark.parametrize("replicas", [1, 0])
def test_a_failover_loses_nothing_that_replicas_had_to_confirm(
    make_rig: MakeRig, tmp_path: Path, replicas: int
) -> None:
    with running_group(tmp_path / "group") as group:
        group.wait_until_replicating()
        rig = make_rig(url=group.url, fake_step_seconds=0.02, store_replicas=replicas)
        rig.follow_url()
        rig.start_workers(2)
        with Load(rig, 0.05) as load:
            time.sleep(3)
            # The primary lives on for a while, with the connections that it has
            died_at = time.monotonic()
            group.fail_over()
            wait_until(group.is_failed_over, description="the failover", seconds=60)
            wait_until(rig.takes_writes, description="the new primary", seconds=60)
            took = time.monotonic() - died_at
            time.sleep(3)
        known = [spec for spec in load.specs if rig.is_known(spec)]
        lost = len(load.specs) - len(known)
        if replicas:
            # Without them, a job that is known to the old primary's last readers may be gone, too.
            rig.assert_all(rig.wait_for_end(known, 120))
        keep(
            f"failover.replicas_{replicas}",
            jobs=len(load.specs),
            lost=lost,
            seconds=round(took, 2),
        )
        assert took <= within(10)
        if replicas:
            assert lost == 0
