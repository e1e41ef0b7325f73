"""A LoRA that works on a smaller photo: an enlarger brings its picture back to full size."""

import io
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from shared.blobs import BlobStore
from shared.errors import UpscalerChanged
from shared.jobs import JobState, Mask
from shared.ledger.preview_queue import PreviewLine, PreviewRequest
from shared.loras.catalog import Catalog
from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from shared.loras.sidecar import read_sidecar
from shared.params import JobParams, LoraMode, LoraRef
from shared.settings import Settings
from tests.support.workers import picture, spec_with_picture
from tests.unit.loras.lora_files import tiny_specs, write_lora
from tests.unit.upscalers.upscaler_files import FOLDED
from tests.unit.worker.job.conftest import RunJob, catalog_of
from worker.engine.interface import EngineJob, EngineResult, EnlargeJob, OnEvent, Urgency
from worker.engine.testing.fake import FakeEngine
from worker.guards.panel import Guards
from worker.job.enlarging import Enlargements
from worker.job.lora_choice import Chooser
from worker.job.preview_runner import PREVIEW_SIDE, PreviewServer

PHOTO = np.zeros((48, 64, 3), np.uint8)
NAME = "redraw_tiny"
ASKED: dict[str, Any] = {"lora_mode": LoraMode.NAMED, "loras": [LoraRef(name=NAME)]}
SMALL = (29, 38, 3)


@pytest.fixture
def lora(settings: Settings) -> LoraEntry:
    """It works at six tenths of the photo's size."""
    folder = settings.data_dir / "loras"
    folder.mkdir(parents=True)
    path = write_lora(folder / f"{NAME}.safetensors", tiny_specs())
    path.with_suffix(".toml").write_text("shrink = 0.6\n")
    return check_file(path)


class Watched(FakeEngine):
    """Keeps the sizes that it is handed, and how much it enlarges them."""

    def __init__(self, base: str = "tiny") -> None:
        super().__init__(base, 0.0)
        self.worked: list[tuple[int, ...]] = []
        self.enlarged: list[tuple[int, Urgency]] = []

    def submit(self, job: EngineJob, on_event: OnEvent) -> "Future[EngineResult]":
        self.worked.append(job.pixels.shape)
        return super().submit(job, on_event)

    def enlarge(self, job: EnlargeJob, on_event: OnEvent) -> "Future[EngineResult]":
        self.enlarged.append((job.factor, job.urgency))
        return super().enlarge(job, on_event)


@pytest.mark.parametrize(("factor", "times"), [(1, 2), (2, 4), (3, 5), (4, 7)])
def test_one_enlargement_brings_back_the_size_and_enlarges(
    lora: LoraEntry, tmp_path: Path, factor: int, times: int
) -> None:
    plans = Enlargements(catalog_of(tmp_path / "up", retouch=FOLDED), "tiny", "cpu")
    plan = plans.plan(JobParams(upscale=factor), PHOTO, ((lora, 1.0),))
    assert (plan.share, plan.times, plan.name) == (0.6, times, "retouch")
    assert plan.size == (64 * factor, 48 * factor)
    assert plan.shrunk(PHOTO).shape == SMALL


def test_without_what_could_bring_it_back_the_photo_is_not_shrunk(
    lora: LoraEntry, tmp_path: Path
) -> None:
    chosen, full = ((lora, 1.0),), catalog_of(tmp_path / "up", retouch=FOLDED)
    none = Enlargements(catalog_of(tmp_path / "none"), "tiny", "cpu")
    missing = none.plan(JobParams(upscale=1), PHOTO, chosen)
    assert (missing.share, missing.enlarges) == (1, False)
    assert missing.degraded == ("no_upscaler",)
    asked = Enlargements(full, "tiny", "cpu").plan(
        JobParams(upscale=1, upscaler="lanczos"), PHOTO, chosen
    )
    assert (asked.share, asked.enlarges, asked.degraded) == (1, False, ())
    # Other bases enlarge first, and draw at the size of the result.
    assert Enlargements(full, "sd15", "cpu").plan(JobParams(upscale=2), PHOTO, chosen).share == 1


def test_a_job_works_on_the_small_photo_and_returns_the_full_one(
    run: RunJob, lora: LoraEntry, tmp_path: Path
) -> None:
    del lora
    engine = Watched()
    job = run(catalog_of(tmp_path / "up", retouch=FOLDED), upscale=1, engine=engine, **ASKED)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert (job.result.width, job.result.height) == (64, 48)
    assert (job.result.upscale, job.result.upscaler) == (1, "retouch")
    assert engine.worked == [SMALL]
    assert engine.enlarged == [(2, Urgency.INTERACTIVE)]
    assert job.degraded == []


def test_an_enlarger_that_breaks_meanwhile_costs_the_job_nothing_but_time(
    run: RunJob, lora: LoraEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del lora
    engine = Watched()

    def broken(*_: object) -> None:
        raise UpscalerChanged("replaced")

    monkeypatch.setattr(FakeEngine, "_enlarge", broken)
    job = run(catalog_of(tmp_path / "up", retouch=FOLDED), upscale=1, engine=engine, **ASKED)
    assert job.state is JobState.SUCCEEDED
    assert engine.worked == [SMALL, PHOTO.shape]
    assert [item.code for item in job.degraded] == ["no_upscaler"]


def test_the_mask_keeps_the_photo_to_the_pixel(
    run: RunJob, lora: LoraEntry, blobs: BlobStore, tmp_path: Path
) -> None:
    del lora
    black = _png(np.zeros((48, 64), np.uint8))
    blobs.put("masks/black", black)
    job = run(
        catalog_of(tmp_path / "up", retouch=FOLDED),
        mask=Mask(blob="masks/black", width=64, height=48, size_bytes=len(black)),
        upscale=1,
        format="png",
        **ASKED,
    )
    assert job.result is not None
    made = np.asarray(Image.open(io.BytesIO(blobs.get(job.result.blob))).convert("RGB"))
    sent = np.asarray(Image.open(io.BytesIO(picture())).convert("RGB"))
    np.testing.assert_array_equal(made, sent)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def previews(
    settings: Settings,
    blobs: BlobStore,
    line: PreviewLine,
    tmp_path: Path,
    started: Callable[[PreviewServer], PreviewServer],
) -> Callable[[FakeEngine], PreviewServer]:
    def start(engine: FakeEngine) -> PreviewServer:
        loras = Catalog(settings.data_dir / "loras", "tiny")
        loras.scan()
        plans = Enlargements(catalog_of(tmp_path / "up", retouch=FOLDED), "tiny", "cpu")
        return started(PreviewServer(line, blobs, Chooser(loras, "tiny"), engine, Guards(), plans))

    return start


def test_a_preview_goes_the_same_way_before_any_job(
    lora: LoraEntry, blobs: BlobStore, line: PreviewLine, previews: Callable[..., PreviewServer]
) -> None:
    del lora
    engine = Watched()
    previews(engine)
    params = JobParams(seed=1, **ASKED)
    source = spec_with_picture(blobs, picture(600, 300)).source
    answer = line.ask(PreviewRequest(id=uuid4().hex, source=source, params=params))
    assert Image.open(io.BytesIO(answer)).size == (PREVIEW_SIDE, PREVIEW_SIDE // 2)
    assert engine.worked == [(77, 154, 3)]
    assert engine.enlarged == [(2, Urgency.PREVIEW)]


@pytest.mark.parametrize("value", ["0.1", "1.5", '"half"'])
def test_a_share_out_of_range_is_named_and_ignored(tmp_path: Path, value: str) -> None:
    path = tmp_path / "one.toml"
    path.write_text(f"shrink = {value}\n")
    read = read_sidecar(path)
    assert read.shrink == 1
    assert "shrink" in read.complaints[0]
