"""Jobs under guards: a hit fails the job, names its LoRA and counts against it."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image

from shared.blobs import BlobStore, open_blobs
from shared.errors import LoraQuarantined, StorageFull, StoreUnavailable
from shared.jobs import Job, JobSpec, JobState
from shared.ledger.lora_failures import LoraFailures
from shared.ledger.store import JobStore
from shared.ledger.strikes import Strikes
from shared.loras.catalog import Catalog
from shared.loras.release import LOCK_NAME
from shared.params import LoraRef
from shared.settings import Settings
from tests.support.jobs import make_spec
from tests.support.marked import QR_TEXT, Fixed, with_code
from tests.support.workers import picture, spec_with_picture, without_upscalers
from tests.unit.loras.lora_files import tiny_specs, write_lora
from worker.engine.interface import EngineJob, EngineResult, Pixels, PreviewReady
from worker.engine.testing.fake import FakeEngine
from worker.guards.codes import CodeGuard
from worker.guards.finding import Finding
from worker.guards.panel import Guards, Policy
from worker.job import refusal
from worker.job.history import History
from worker.job.leases import LeaseKeeper
from worker.job.lora_choice import Chooser
from worker.job.probe import NoProbe
from worker.job.pulse import Pulse
from worker.job.runner import Runner

NAME = "bad_tiny"


class Forging(FakeEngine):
    """Gives the picture back with a code in it, wherever a LoRA is used."""

    def __init__(self) -> None:
        super().__init__("tiny", 0.0)
        self.jobs = 0

    def submit(self, job: EngineJob, on_event: Any) -> "Future[EngineResult]":
        self.jobs += 1
        if job.preview:
            on_event(PreviewReady(job.pixels[::4, ::4].copy()))
        made: Future[EngineResult] = Future()
        pixels = with_code(job.pixels) if job.loras else job.pixels
        made.set_result(EngineResult(pixels, (), {}))
        return made


class Sees:
    """A guard that sees a mark everywhere."""

    def __init__(self, is_sure: bool = True) -> None:
        self._is_sure = is_sure

    def added(self, _given: Pixels, _output: Pixels) -> list[Finding]:
        return [Finding("a watermark", self._is_sure)]


class OutputOnly:
    """Passes the first picture, the input; gives all others this score."""

    def __init__(self, score: float) -> None:
        self._scores = [score, 0.0]

    def score(self, _pixels: Pixels) -> float:
        return self._scores.pop() if len(self._scores) > 1 else self._scores[0]


class Raising:
    """A guard whose weights have gone bad."""

    def added(self, _given: Pixels, _output: Pixels) -> list[Finding]:
        raise ValueError("no such tensor")


@pytest.fixture
def engine() -> Iterator[Forging]:
    forging = Forging()
    yield forging
    forging.close()


@pytest.fixture
def strikes(redis_client: redis.Redis, settings: Settings) -> Strikes:
    return Strikes(redis_client, settings)


@pytest.fixture
def catalog(tmp_path: Path, strikes: Strikes) -> Catalog:
    folder = tmp_path / "loras"
    folder.mkdir()
    write_lora(folder / f"{NAME}.safetensors", tiny_specs())
    found = Catalog(folder, "tiny", suspended=strikes.suspended)
    found.scan()
    return found


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def run(
    store: JobStore,
    blobs: BlobStore,
    redis_client: redis.Redis,
    strikes: Strikes,
    catalog: Catalog,
    engine: Forging,
) -> Callable[..., Job]:
    """Send a photo through a worker with these guards; the job as it ends."""
    leases = LeaseKeeper(store, 60.0, 60.0)

    def run_one(guards: Guards, seed: int = 0, client: str = "ada", **params: object) -> Job:
        shown = {"preview": False, "client": client} | params
        spec = spec_with_picture(blobs, picture(160, 144, seed), **shown)
        store.submit(spec)
        runner = Runner(
            worker_id="w",
            base="tiny",
            engine=engine,
            store=store,
            blobs=blobs,
            history=History(redis_client, "tiny", "fake"),
            chooser=Chooser(catalog, "tiny"),
            enlargements=without_upscalers(),
            guards=guards,
            strikes=strikes,
            failures=LoraFailures(redis_client, "tiny"),
            leases=leases,
            pulse=Pulse(),
            probe=NoProbe(),
            on_device_lost=lambda: None,
        )
        assert runner.run_next()
        return store.get(spec.id)

    return run_one


@pytest.fixture
def bad(catalog: Catalog) -> dict[str, object]:
    """Parameters of a job with the bad LoRA."""
    entry = catalog.resolve(NAME)
    return {"lora_mode": "named", "loras": [{"name": NAME, "sha256": entry.sha256}]}


@pytest.fixture
def guards() -> Guards:
    return Guards(Fixed(0.1), {"code": CodeGuard()})


def test_a_code_in_the_output_fails_the_job_and_names_the_lora(
    run: Callable[..., Job], guards: Guards, bad: dict[str, object], settings: Settings
) -> None:
    job = run(guards, **bad)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code == "watermark_in_output"
    assert job.failure.flags == ["code"]
    assert job.failure.loras == [NAME]
    assert QR_TEXT in job.failure.message
    assert not list((settings.data_dir / "blobs").glob("results/*"))


def test_the_refused_picture_is_kept_for_the_operator(
    run: Callable[..., Job], guards: Guards, bad: dict[str, object], blobs: BlobStore
) -> None:
    job = run(guards, **bad)
    assert job.failure is not None
    assert job.failure.refused == f"refused/{job.id}-1.png"
    shown = np.asarray(Image.open(io.BytesIO(blobs.get(job.failure.refused))))
    assert CodeGuard().added(np.zeros_like(shown), shown) == [Finding(QR_TEXT)]


def test_a_picture_is_refused_also_when_there_is_no_room_to_keep_it(
    run: Callable[..., Job],
    guards: Guards,
    bad: dict[str, object],
    blobs: BlobStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = blobs.put

    def full(name: str, data: bytes) -> None:
        if name.startswith("refused/"):
            raise StorageFull("no room")
        put(name, data)

    monkeypatch.setattr(blobs, "put", full)
    job = run(guards, **bad)
    assert job.failure is not None
    assert job.failure.code == "watermark_in_output"
    assert job.failure.refused is None


def test_a_mark_that_is_only_likely_is_shown_with_a_flag_and_counts_against_nobody(
    run: Callable[..., Job], bad: dict[str, object], redis_client: redis.Redis
) -> None:
    job = run(Guards(marks={"mark": Sees(is_sure=False)}), **bad)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.safety.flags == ["maybe_watermark"]
    assert redis_client.keys("lora:*:strikes") == []


def test_the_network_alone_is_no_witness_against_loras_that_ship(
    run: Callable[..., Job],
    bad: dict[str, object],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusal, "is_shipped", lambda _sha256: True)
    job = run(Guards(marks={"mark": Sees()}), **bad)
    assert job.failure is not None
    assert job.failure.code == "watermark_in_output"
    assert redis_client.keys("lora:*:strikes") == []
    # while a code that was added counts
    run(Guards(marks={"mark": Sees(), "code": CodeGuard()}), **bad)
    assert len(redis_client.keys("lora:*:strikes")) == 1


def test_a_certain_mark_counts_against_other_loras(
    run: Callable[..., Job], bad: dict[str, object], redis_client: redis.Redis
) -> None:
    run(Guards(marks={"mark": Sees()}), **bad)
    assert len(redis_client.keys("lora:*:strikes")) == 1


@pytest.mark.parametrize(("score", "counted"), [(0.5, 0), (0.9, 1)])
def test_what_is_blocked_out_of_doubt_counts_against_nobody(
    run: Callable[..., Job],
    bad: dict[str, object],
    redis_client: redis.Redis,
    score: float,
    counted: int,
) -> None:
    guards = Guards(OutputOnly(score), policy=Policy(doubtful="block"))
    job = run(guards, **bad)
    assert job.failure is not None
    assert job.failure.code == "unsafe_output"
    assert len(redis_client.keys("lora:*:strikes")) == counted


def test_the_base_alone_passes_and_the_record_says_what_was_measured(
    run: Callable[..., Job], guards: Guards
) -> None:
    job = run(guards, lora_mode="none")
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.safety.nsfw == 0.1
    assert job.result.safety.flags == []
    assert job.timings.checking_seconds > 0


def test_without_guards_nothing_is_claimed_to_have_been_measured(
    run: Callable[..., Job], bad: dict[str, object]
) -> None:
    job = run(Guards(), **bad)
    assert job.result is not None
    assert job.result.safety.nsfw is None


def test_an_unsafe_input_costs_no_device_time(
    run: Callable[..., Job], engine: Forging, bad: dict[str, object], strikes: Strikes
) -> None:
    job = run(Guards(Fixed(0.9)), **bad)
    assert job.failure is not None
    assert job.failure.code == "unsafe_input"
    assert job.failure.loras == []
    assert engine.jobs == 0
    assert strikes.suspended() == {}


def test_a_guard_that_breaks_down_lets_no_picture_through(
    run: Callable[..., Job], settings: Settings
) -> None:
    job = run(Guards(marks={"text": Raising()}), lora_mode="none")
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code == "internal_error"
    assert not list((settings.data_dir / "blobs").glob("results/*"))


def test_three_hits_suspend_the_file_until_a_person_releases_it(
    run: Callable[..., Job],
    guards: Guards,
    bad: dict[str, object],
    catalog: Catalog,
    strikes: Strikes,
    tmp_path: Path,
) -> None:
    # Given two hits
    sha256 = catalog.resolve(NAME).sha256
    run(guards, 0, "ada", **bad)
    run(guards, 1, "bob", **bad)
    catalog.scan()
    assert catalog.resolve(NAME).sha256 == sha256
    # When a third follows
    run(guards, 2, "cyd", **bad)
    catalog.scan()
    # Then it is refused, with the way out
    with pytest.raises(LoraQuarantined, match=rf"3 of its pictures.*{LOCK_NAME}"):
        catalog.resolve("bad")
    assert "停用" in catalog.explain("bad", "zh")
    # and offered again once its bytes are released
    (tmp_path / "loras" / LOCK_NAME).write_text(f'[released]\n"{sha256}" = "seen by Jane"\n')
    catalog.scan()
    assert catalog.resolve(NAME).sha256 == sha256
    assert strikes.suspended()[sha256].name == NAME


def test_a_new_name_does_not_clear_a_suspended_file(
    run: Callable[..., Job],
    guards: Guards,
    bad: dict[str, object],
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    for number, client in enumerate(("ada", "bob", "cyd")):
        run(guards, number, client, **bad)
    folder = tmp_path / "loras"
    (folder / f"{NAME}.safetensors").rename(folder / "good_tiny.safetensors")
    catalog.scan()
    with pytest.raises(LoraQuarantined):
        catalog.resolve("good")


class Later:
    """Unsafe from its n-th look on."""

    def __init__(self, safe_looks: int) -> None:
        self._safe = safe_looks

    def score(self, _pixels: Pixels) -> float:
        self._safe -= 1
        return 0.0 if self._safe >= 0 else 1.0


# A job's pictures are looked at in this order: input, preview, output.
@pytest.mark.parametrize(("safe_looks", "previews"), [(1, 0), (2, 1)])
def test_a_preview_is_kept_only_when_it_is_safe(
    run: Callable[..., Job], settings: Settings, safe_looks: int, previews: int
) -> None:
    job = run(Guards(Later(safe_looks)), lora_mode="none", preview=True)
    assert job.failure is not None
    assert job.failure.code == "unsafe_output"
    assert (job.preview is not None) == bool(previews)
    assert len(list((settings.data_dir / "blobs").glob("previews/*"))) == previews


def hit(photo: int = 0, client: str = "", sender: str = "") -> JobSpec:
    """A job of this photo by this client; by one of its own if none is named."""
    spec = make_spec(client=client or f"client-{photo}")
    source = spec.source.model_copy(update={"image_id": f"{photo:064}"})
    return spec.model_copy(update={"source": source, "sender": sender})


@pytest.mark.parametrize(
    ("jobs", "is_suspended"),
    [
        ([hit(0, "ada"), hit(0, "bob"), hit(0, "cyd")], False),
        ([hit(0, "ada"), hit(1, "ada"), hit(2, "ada")], False),
        ([hit(0, "ada"), hit(1, "bob"), hit(1, "cyd"), hit(2, "bob")], False),
        ([hit(0, "ada"), hit(1, "bob"), hit(2, "cyd")], True),
        ([hit(n, "anonymous", sender) for n, sender in enumerate(("x", "x", "x"))], False),
        ([hit(n, "anonymous", sender) for n, sender in enumerate(("x", "y", "z"))], True),
    ],
    ids=["one photo", "one caller", "two of each", "three of each", "one place", "three places"],
)
def test_only_different_photos_of_different_callers_suspend(
    strikes: Strikes, jobs: list[JobSpec], is_suspended: bool
) -> None:
    for job in jobs:
        strikes.count([LoraRef(name=NAME, sha256="a" * 64)], job, "code")
    assert bool(strikes.suspended()) is is_suspended


def test_the_same_job_counts_once(
    strikes: Strikes, catalog: Catalog, redis_client: redis.Redis
) -> None:
    entry = catalog.resolve(NAME)
    ref = LoraRef(name=NAME, sha256=entry.sha256)
    job = make_spec()
    for _ in range(5):
        strikes.count([ref], job, "reported")
    assert redis_client.zcard(f"lora:{entry.sha256}:strikes") == 1
    assert strikes.suspended() == {}


def test_a_store_that_is_away_leaves_suspended_what_was_suspended(
    strikes: Strikes, catalog: Catalog, tmp_path: Path
) -> None:
    answers: list[Callable[[], Any]] = [strikes.suspended]

    def ask() -> Any:
        return answers[-1]()

    def away() -> Any:
        raise StoreUnavailable("away")

    entry = catalog.resolve(NAME)
    for number in range(3):
        strikes.count([LoraRef(name=NAME, sha256=entry.sha256)], hit(number), "code")
    held = Catalog(tmp_path / "loras", "tiny", suspended=ask)
    held.scan()
    answers.append(away)
    held.scan()
    with pytest.raises(LoraQuarantined):
        held.resolve(NAME)


def test_pictures_of_another_size_are_compared(guards: Guards) -> None:
    given = np.zeros((150, 160, 3), np.uint8)
    output = with_code(np.zeros((300, 320, 3), np.uint8))
    assert guards.check_output(given, output).safety.flags == ["code"]
