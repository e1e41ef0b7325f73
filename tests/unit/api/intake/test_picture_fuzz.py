"""Broken pictures by the thousand: each is taken or refused in words, and nothing grows."""

import gc
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import redis

from api.intake.decoder import Decoders
from api.intake.images import Images
from shared.blobs import FolderBlobs
from shared.errors import RetouchError
from shared.settings import Settings
from tests.support.mutations import mutated, originals

REFUSALS = {
    "invalid_image",
    "image_truncated",
    "image_too_large",
    "image_too_small",
    "animated_image",
    "unsupported_media_type",
}
# What a decoder's heap and ours may still settle into after the first thousand.
SLACK_BYTES = 24 * 2**20


@pytest.fixture
def images(redis_client: redis.Redis, settings: Settings, tmp_path: Path) -> Iterator[Images]:
    decoders = Decoders(settings.max_pixels)
    yield Images(redis_client, FolderBlobs(tmp_path / "blobs", 60), decoders, settings)
    decoders.close()


def outcome(images: Images, data: bytes) -> str:
    try:
        images.accept(data, "fuzz")
    except RetouchError as error:
        return error.code
    return "taken"


def memory() -> int:
    """What this process and its decoders hold."""
    gc.collect()
    me = psutil.Process()
    return int(sum(one.memory_info().rss for one in (me, *me.children())))


def run(
    images: Images, count: int, seed: int = 0, kinds: Sequence[str] | None = None
) -> Counter[tuple[str, str]]:
    return Counter((kind, outcome(images, data)) for kind, data in mutated(count, seed, kinds))


def test_whole_pictures_of_the_fuzz_are_taken(images: Images) -> None:
    for kind, pictures in originals().items():
        assert [outcome(images, data) for data in pictures] == ["taken"] * len(pictures), kind


def test_broken_pictures_are_taken_or_refused_in_words(images: Images) -> None:
    seen = run(images, 600)

    assert {code for _, code in seen} <= REFUSALS | {"taken"}
    # And the mutations go deep: of each kind some are taken, and some refused by a decoder
    for kind in originals():
        assert seen[kind, "taken"] > 5
        assert seen[kind, "invalid_image"] + seen[kind, "image_truncated"] > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["heic", "avif", "tiff"])
def test_five_thousand_broken_pictures_of_each_newer_kind(images: Images, kind: str) -> None:
    run(images, 500, seed=5, kinds=[kind])
    before, started = memory(), time.monotonic()

    seen = run(images, 5000, seed=6, kinds=[kind])

    after, seconds = memory(), time.monotonic() - started
    print("\n", dict(sorted(seen.items())), f"\n {seconds:.0f} s, {before} -> {after} bytes")
    assert seen.total() == 5000
    assert {code for _, code in seen} <= REFUSALS | {"taken"}
    assert after - before < SLACK_BYTES


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_broken_pictures_cost_no_memory_and_no_process(images: Images) -> None:
    run(images, 1000, seed=1)
    before = memory()

    seen = run(images, 20_000, seed=2)

    after = memory()
    print("\n", dict(sorted(seen.items())), f"\n {before / 2**20:.0f} -> {after / 2**20:.0f} MiB")
    assert seen.total() == 20_000
    assert {code for _, code in seen} <= REFUSALS | {"taken"}
    assert after - before < SLACK_BYTES
