"""Answers preview requests beside the jobs, from a thread of its own.

Owns size and haste: the engine lets previews overtake jobs at its next unit of work. Errors go back
to whoever asked; nothing is recorded.
"""

import threading
from concurrent.futures import Future
from dataclasses import replace

import structlog

from shared.blobs import BlobStore
from shared.errors import InternalError, RetouchError
from shared.previews import PreviewLine, PreviewRequest
from worker.attempt import engine_job
from worker.choice import Chooser
from worker.engine.interface import Engine, EngineEvent, EngineResult, StopFlag, Urgency
from worker.outputs import encode_preview
from worker.sources import load_source

logger = structlog.get_logger(__name__)

PREVIEW_SIDE = 256
WAIT_SECONDS = 1.0
PAUSE_SECONDS = 1.0


class PreviewServer:
    """A thread that takes requests off the line. `start` and `stop` come in pairs."""

    def __init__(
        self, line: PreviewLine, blobs: BlobStore, chooser: Chooser, engine: Engine
    ) -> None:
        self._line = line
        self._blobs = blobs
        self._chooser = chooser
        self._engine = engine
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="previews", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                request = self._line.next(WAIT_SECONDS)
            except RetouchError as error:
                logger.warning("previews wait for the store", reason=str(error))
                self._stopping.wait(PAUSE_SECONDS)
                continue
            if request is not None:
                self._serve(request)

    def _serve(self, request: PreviewRequest) -> None:
        try:
            self._begin(request)
        except RetouchError as error:
            self._line.refuse(request, error)
        except Exception:
            logger.exception("a preview failed in a way nobody foresaw")
            self._line.refuse(request, InternalError("something unforeseen happened"))

    def _begin(self, request: PreviewRequest) -> None:
        small = request.params.model_copy(update={"max_side": PREVIEW_SIDE, "upscale": 1.0})
        pixels = load_source(self._blobs.get(request.source.blob), small)
        params, chosen = self._chooser.settle(small, pixels)
        job = engine_job(pixels, params, chosen, StopFlag())
        job = replace(job, preview=False, urgency=Urgency.PREVIEW)
        future = self._engine.submit(job, _ignore)
        future.add_done_callback(lambda done: self._finish(request, done))

    def _finish(self, request: PreviewRequest, done: "Future[EngineResult]") -> None:
        """Runs on the engine's thread, so it is short: a 256 px WebP takes about a millisecond."""
        error = done.exception()
        try:
            if error is None:
                self._line.answer(request, encode_preview(done.result().pixels))
            else:
                known = error if isinstance(error, RetouchError) else InternalError(str(error))
                self._line.refuse(request, known)
        except RetouchError as away:
            logger.warning("preview not delivered", reason=str(away))


def _ignore(_event: EngineEvent) -> None:
    """Nobody follows a preview's steps."""
