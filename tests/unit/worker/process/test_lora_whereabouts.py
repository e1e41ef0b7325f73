"""A job goes to those who have its LoRAs' files; it fails only if they did change."""

from pathlib import Path

import pytest
import redis

from shared.ledger.fleet import Fleet, announced
from shared.loras.catalog import Catalog
from shared.params import LoraRef
from tests.support.fleet import live_worker
from tests.unit.loras.lora_files import tiny_specs, write_lora
from worker.job.runner import Where
from worker.process.lora_whereabouts import Whereabouts


def announce(client: redis.Redis, worker_id: str, loras: list[str], base: str = "tiny") -> None:
    info = live_worker(worker_id, host="host", base=base, profile="full", loras=loras)
    Fleet(client).announce(info)


def lacking(folder: Path, client: redis.Redis) -> Whereabouts:
    return Whereabouts(Catalog((folder,), "tiny"), None, Fleet(client), "me")


NEEDED = [LoraRef(name="new", scale=1.0, sha256="a" * 64)]
HAS = announced(["a" * 64, "b" * 64])


@pytest.mark.parametrize(
    ("worker", "base", "loras", "where"),
    [
        ("other", "tiny", HAS, Where.ELSEWHERE),
        ("other", "tiny", announced(["b" * 64]), Where.NOWHERE),
        ("other", "sd15", HAS, Where.NOWHERE),
        ("me", "tiny", HAS, Where.NOWHERE),
    ],
    ids=["has-it", "has-others", "other-base", "only-me"],
)
def test_another_worker_of_the_base_that_announces_the_file_has_it(
    tmp_path: Path,
    redis_client: redis.Redis,
    worker: str,
    base: str,
    loras: list[str],
    where: Where,
) -> None:
    announce(redis_client, worker, loras, base)

    assert lacking(tmp_path, redis_client).of(NEEDED, "tiny") is where


def test_a_file_that_has_come_meanwhile_is_found_by_looking_again(
    tmp_path: Path, redis_client: redis.Redis
) -> None:
    whereabouts = lacking(tmp_path, redis_client)
    write_lora(tmp_path / "new.safetensors", tiny_specs())
    reader = Catalog((tmp_path,), "tiny")
    reader.scan()
    (entry,) = reader.entries()

    assert (
        whereabouts.of([LoraRef(name="new", scale=1.0, sha256=entry.sha256)], "tiny") is Where.HERE
    )
    assert whereabouts.own() == announced([entry.sha256])


def test_a_heartbeat_of_hundreds_of_files_is_small() -> None:
    digests = [f"{number:064x}" for number in range(500)]

    assert sum(map(len, announced(digest[::-1] for digest in digests))) == 500 * 16
