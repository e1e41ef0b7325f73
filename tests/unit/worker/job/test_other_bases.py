"""A photo whose damage only another base's LoRA treats goes to that base."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import pytest
import redis
from skimage import data

from shared.blobs import BlobStore, open_blobs
from shared.jobs import Job, JobState
from shared.ledger.fleet import Fleet
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.params import Elsewhere, JobParams, LoraRef
from shared.settings import Settings
from tests.support.fleet import live_worker
from tests.support.workers import picture, spec_with_picture, without_upscalers
from tests.unit.worker.job.test_damage import offered
from worker.engine.interface import Pixels
from worker.engine.testing.fake import FakeEngine
from worker.guards.panel import Guards
from worker.job.damage import choose
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.probe import NoProbe
from worker.job.pulse import Pulse
from worker.job.runner import Runner
from worker.training.damage import degrade

OTHER = Elsewhere(
    base="sdxl/juggernaut",
    treats=["noise"],
    lora=LoraRef(name="denoise_sdxl", scale=0.8, sha256="c" * 64),
    strength=0.3,
)


@pytest.fixture(scope="module")
def noisy() -> Pixels:
    photo = np.asarray(data.coffee())
    return degrade(photo, "noise", 20.0, np.random.default_rng(1))


def test_a_lora_of_another_base_is_chosen_for_damage_that_no_own_one_treats(noisy: Pixels) -> None:
    choice = choose(noisy, [offered("deblur", "blur")], [OTHER])
    assert choice.elsewhere == OTHER
    assert "denoise_sdxl (sdxl/juggernaut)" in choice.reason["en"]


def test_an_own_lora_goes_before_those_of_other_bases(noisy: Pixels) -> None:
    choice = choose(noisy, [offered("denoise", "noise")], [OTHER])
    assert choice.elsewhere is None
    assert [entry.short_name for entry, _ in choice.loras] == ["denoise"]


def test_an_undamaged_photo_goes_nowhere() -> None:
    assert choose(np.asarray(data.coffee()), [], [OTHER]).elsewhere is None


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


class Damaged(Chooser):
    """Sees noise in every photo."""

    def _by_damage(self, params: JobParams, pixels: Pixels) -> JobParams:
        del pixels
        noisy = degrade(np.asarray(data.coffee()), "noise", 20.0, np.random.default_rng(1))
        return super()._by_damage(params, noisy)


@pytest.fixture
def make_runner(
    store: JobStore, blobs: BlobStore, redis_client: redis.Redis, settings: Settings
) -> Iterator[Callable[[str], Runner]]:
    """Workers of the embedded base's family without LoRAs, by the name of their base."""
    with ExitStack() as engines:

        def make(base: str) -> Runner:
            engine = engines.enter_context(closing(FakeEngine("tiny", 0.0)))
            return Runner(
                worker_id=base,
                base=base,
                engine=engine,
                store=store,
                blobs=blobs,
                history=History(redis_client, "tiny", "fake"),
                chooser=Damaged(Catalog(settings.data_dir / "none", "tiny"), "tiny"),
                enlargements=without_upscalers(),
                guards=Guards(),
                strikes=Strikes(redis_client, settings),
                failures=LoraFailures(redis_client, "tiny"),
                leases=LeaseKeeper(store, 60.0, 60.0),
                pulse=Pulse(),
                probe=NoProbe(),
                on_device_lost=lambda: None,
            )

        yield make


@pytest.fixture
def run(
    make_runner: Callable[[str], Runner], store: JobStore, blobs: BlobStore
) -> Callable[[], Job]:
    """A worker of the embedded base takes a noisy photo; the job afterwards."""

    def run_next() -> Job:
        asked = {"lora_mode": "auto", "strength": None, "elsewhere": [OTHER]}
        spec = spec_with_picture(blobs, picture(64, 64), **asked)
        store.submit(spec)
        assert make_runner("tiny").run_next()
        return store.get(spec.id)

    return run_next


def test_a_job_of_the_base_that_is_named_as_its_family_is_not_for_the_others(
    make_runner: Callable[[str], Runner], store: JobStore, blobs: BlobStore
) -> None:
    other = make_runner("tiny/other")
    spec = spec_with_picture(blobs, picture(16, 16), lora_mode="none")
    store.submit(spec)
    assert other.waiting() == 0
    assert other.run_next() is None
    assert make_runner("tiny").run_next()
    assert store.get(spec.id).state is JobState.SUCCEEDED


def test_a_job_that_a_gateway_of_the_first_version_queued_by_family_is_for_any_checkpoint_of_it(
    make_runner: Callable[[str], Runner],
    store: JobStore,
    blobs: BlobStore,
    redis_client: redis.Redis,
) -> None:
    other = make_runner("tiny/other")
    spec = spec_with_picture(blobs, picture(16, 16), lora_mode="none")
    store.submit(spec)
    redis_client.delete("named:tiny")  # which that version did not write
    assert other.waiting() == 1
    assert other.run_next()
    assert store.get(spec.id).state is JobState.SUCCEEDED


def test_the_job_waits_for_the_other_base_and_the_attempt_does_not_count(
    run: Callable[[], Job], redis_client: redis.Redis, store: JobStore
) -> None:
    Fleet(redis_client).announce(live_worker("x", base=OTHER.base, profile="full"))

    job = run()

    assert (job.state, job.spec.base, job.attempt) == (JobState.QUEUED, OTHER.base, 0)
    assert store.claim("tiny", "w") is None
    claimed = store.claim(OTHER.base, "x")
    assert claimed is not None
    assert claimed.spec.params.loras == [OTHER.lora]
    assert claimed.spec.params.strength == OTHER.strength
    assert "denoise_sdxl" in (claimed.spec.params.lora_reason or "")


def test_a_job_whose_other_base_has_gone_is_done_here(run: Callable[[], Job]) -> None:
    job = run()
    assert (job.state, job.spec.base) == (JobState.SUCCEEDED, "tiny")
    assert "no available LoRA treats it" in (job.params.lora_reason or "")
