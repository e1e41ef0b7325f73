"""Previews on demand, over a real store and the fake engine."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from uuid import uuid4

import pytest
from PIL import Image

from shared.blobs import BlobStore, open_blobs
from shared.errors import (
    ImageNotFound,
    NoWorker,
    RetouchError,
    StoreUnavailable,
    Superseded,
    UnsafeOutput,
)
from shared.ledger.preview_queue import Pending, PreviewLine, PreviewRequest
from shared.loras.catalog import Catalog
from shared.params import JobParams, LoraMode, executed_steps
from shared.settings import Settings
from tests.support.engine_jobs import make_job
from tests.support.marked import Fixed
from tests.support.next_version import grown
from tests.support.wait import wait_until
from tests.support.workers import picture, spec_with_picture, without_upscalers
from worker.engine.interface import EngineJob, EngineResult, OnEvent
from worker.engine.preview_job import as_preview
from worker.engine.testing.fake import FakeEngine
from worker.guards.panel import Guards
from worker.job.lora_choice import Chooser
from worker.job.preview_runner import PREVIEW_SIDE, PreviewServer


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_blobs(settings)


@pytest.fixture
def serve(
    settings: Settings,
    blobs: BlobStore,
    line: PreviewLine,
    started: Callable[[PreviewServer], PreviewServer],
) -> Callable[..., PreviewServer]:
    """Start a server whose engine takes so many seconds for a step."""

    def start(step_seconds: float, guards: Guards | None = None) -> PreviewServer:
        chooser = Chooser(Catalog(settings.loras_dir, "tiny"), "tiny")
        engine = FakeEngine("tiny", step_seconds)
        return started(
            PreviewServer(line, blobs, chooser, engine, guards or Guards(), without_upscalers())
        )

    return start


def request(blobs: BlobStore, session: str | None = None, size: int = 600) -> PreviewRequest:
    params = JobParams(lora_mode=LoraMode.NONE, seed=1)
    source = spec_with_picture(blobs, picture(size, size // 2)).source
    return PreviewRequest(id=uuid4().hex, source=source, params=params, session=session)


def test_a_preview_is_a_small_webp_of_the_right_shape(
    line: PreviewLine, blobs: BlobStore, serve: Callable[[float], PreviewServer]
) -> None:
    serve(0)
    image = Image.open(io.BytesIO(line.ask(request(blobs))))
    assert (image.format, image.size) == ("WEBP", (PREVIEW_SIDE, PREVIEW_SIDE // 2))


def test_a_preview_is_treated_at_as_many_sizes_as_its_picture_will_be(
    line: PreviewLine,
    blobs: BlobStore,
    serve: Callable[[float], PreviewServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, seen = serve(0), list[tuple[int, ...]]()
    submit = server._engine.submit

    def watched(job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        seen.append(job.pixels.shape)
        return submit(job, on_event)

    monkeypatch.setattr(server._engine, "submit", watched)
    asked = request(blobs)
    in_sizes = asked.params.model_copy(update={"pyramid": 3})

    image = Image.open(io.BytesIO(line.ask(asked.model_copy(update={"params": in_sizes}))))

    assert image.size == (PREVIEW_SIDE, PREVIEW_SIDE // 2)
    assert seen == [(32, 64, 3), (64, 128, 3), (128, 256, 3)]


def test_an_unsafe_preview_is_refused(
    line: PreviewLine, blobs: BlobStore, serve: Callable[..., PreviewServer]
) -> None:
    serve(0, Guards(Fixed(0.95)))
    with pytest.raises(UnsafeOutput):
        line.ask(request(blobs))


def test_a_newer_request_of_a_session_supersedes_the_older_at_once(
    line: PreviewLine, blobs: BlobStore, serve: Callable[[float], PreviewServer]
) -> None:
    # Given an older request on its way
    serve(0.2)
    outcome: list[object] = []

    def ask_older() -> None:
        try:
            outcome.append(line.ask(request(blobs, session="slider")))
        except RetouchError as error:
            outcome.append(error)

    older = threading.Thread(target=ask_older)
    older.start()
    wait_until(
        lambda: line.client.exists("preview-session:slider"), description="the older request"
    )
    # When a newer one of the same session comes, then it is answered and the older one is refused
    assert line.ask(request(blobs, session="slider"))
    older.join()
    assert isinstance(outcome[0], Superseded)


def test_sessions_do_not_supersede_each_other(
    line: PreviewLine, blobs: BlobStore, serve: Callable[[float], PreviewServer]
) -> None:
    serve(0)
    assert line.ask(request(blobs, session="a"))
    assert line.ask(request(blobs, session="b"))


def test_an_error_comes_back_to_whoever_asked(
    line: PreviewLine, blobs: BlobStore, serve: Callable[[float], PreviewServer]
) -> None:
    serve(0)
    gone = request(blobs)
    blobs.delete(gone.source.blob)
    with pytest.raises(ImageNotFound):
        line.ask(gone)
    assert line.ask(request(blobs, size=300))


def test_without_a_worker_the_asker_hears_so(
    line: PreviewLine, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.ledger.preview_queue.PATIENCE_SECONDS", 0.2)
    with pytest.raises(NoWorker):
        line.ask(request(blobs))


def put(line: PreviewLine, text: str) -> None:
    line.client.rpush("previews:tiny", text)
    line.client.expire("previews:tiny", 5)


def test_what_was_asked_too_long_ago_is_not_begun(line: PreviewLine, blobs: BlobStore) -> None:
    put(line, request(blobs).model_copy(update={"asked_at": line._now() - 60}).stored())
    assert line.next(0.1) is None


@pytest.mark.parametrize("wrong_by", [-3600.0, 3600.0])
def test_previews_go_by_the_store_s_clock_however_wrong_a_host_s_is(
    line: PreviewLine,
    blobs: BlobStore,
    serve: Callable[[float], PreviewServer],
    monkeypatch: pytest.MonkeyPatch,
    wrong_by: float,
) -> None:
    serve(0)
    right = time.time
    monkeypatch.setattr("time.time", lambda: right() + wrong_by)
    assert line.ask(request(blobs))


def test_a_preview_of_the_next_version_is_answered_and_one_that_cannot_be_is_refused(
    line: PreviewLine, blobs: BlobStore, serve: Callable[[float], PreviewServer]
) -> None:
    # Given requests that newer gateways or none have written
    serve(0)
    stored = json.loads(request(blobs).model_copy(update={"asked_at": line._now()}).stored())
    strange = stored | {"id": "strange", "params": stored["params"] | {"format": "jxl"}}
    # When they are before this version's worker
    for text in ("no record", json.dumps(strange), json.dumps(grown(stored))):
        put(line, text)
    # Then it answers what it can, refuses the other, and goes on
    refused = line.client.blpop(["preview:strange"], timeout=10)
    assert refused is not None
    assert b"no_worker" in refused[1]
    assert line.client.blpop([f"preview:{stored['id']}"], timeout=10)
    assert line.ask(request(blobs))


def test_previews_go_on_after_the_store_was_away_at_a_refusal(
    line: PreviewLine,
    blobs: BlobStore,
    serve: Callable[[float], PreviewServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a preview that has to be refused while the store is away
    server, gone, refusals = serve(0), request(blobs), []
    blobs.delete(gone.source.blob)
    refuse = PreviewLine.refuse

    def away(self: PreviewLine, *rest: object) -> None:
        refusals.append(rest)
        if len(refusals) == 1:
            raise StoreUnavailable("away")
        refuse(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PreviewLine, "refuse", away)
    monkeypatch.setattr("shared.ledger.preview_queue.PATIENCE_SECONDS", 2.0)
    with pytest.raises(NoWorker):
        line.ask(gone)
    # Then the next is answered
    monkeypatch.setattr("shared.ledger.preview_queue.PATIENCE_SECONDS", 5.0)
    assert line.ask(request(blobs))
    assert server._loop.is_alive


class Recorder(FakeEngine):
    """Keeps the jobs that it is handed, and finishes none."""

    def __init__(self) -> None:
        super().__init__("tiny", 0)
        self.jobs: list[EngineJob] = []

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        del on_event
        self.jobs.append(job)
        return Future()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    engine = Recorder()
    yield engine
    engine.close()


@pytest.fixture
def server(
    settings: Settings, blobs: BlobStore, line: PreviewLine, recorder: Recorder
) -> PreviewServer:
    chooser = Chooser(Catalog(settings.loras_dir, "tiny"), "tiny")
    return PreviewServer(line, blobs, chooser, recorder, Guards(), without_upscalers())


@pytest.mark.parametrize("strength", [0.05, 0.29, 0.4, 2 / 3, 1.0])
@pytest.mark.parametrize("steps", [1, 10, 50])
@pytest.mark.parametrize(("device", "most"), [("cpu", 1), ("cuda", 2)])
def test_a_preview_takes_a_step_or_two_at_the_most_and_no_guidance(
    strength: float, steps: int, device: str, most: int
) -> None:
    job = make_job(strength=strength, steps=steps, guidance_scale=7.5)
    small = as_preview(job, device)
    executed = executed_steps(steps, strength)
    assert executed_steps(small.steps, strength) == min(most, executed)
    assert (small.guidance_scale, small.strength) == (1.0, strength)


def test_a_newer_preview_of_a_session_stops_the_older_one_in_the_engine(
    server: PreviewServer, recorder: Recorder, blobs: BlobStore
) -> None:
    older, other, newer = (request(blobs, session) for session in ("slider", "other", "slider"))
    for each in (older, other, newer):
        server._serve(Pending(each, 5.0))
    with pytest.raises(Superseded):
        recorder.jobs[0].stop.check()
    recorder.jobs[1].stop.check()
    recorder.jobs[2].stop.check()


def test_a_preview_that_nobody_waits_for_any_more_stops(
    server: PreviewServer, recorder: Recorder, blobs: BlobStore
) -> None:
    server._serve(Pending(request(blobs), -1.0))
    with pytest.raises(NoWorker):
        recorder.jobs[0].stop.check()


def test_a_slider_has_its_source_decoded_once(
    server: PreviewServer, recorder: Recorder, blobs: BlobStore
) -> None:
    first = request(blobs)
    server._serve(Pending(first, 5.0))
    blobs.delete(first.source.blob)
    server._serve(Pending(first, 5.0))
    assert len(recorder.jobs) == 2
    assert recorder.jobs[0].pixels is recorder.jobs[1].pixels
