"""Answers preview requests beside the jobs, from its own thread.

Owns their size; the engine gives previews priority over jobs. Errors are returned to the requester,
and nothing is recorded.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from shared.blobs import BlobStore
from shared.errors import InternalError, NoWorker, RetouchError, Superseded, UnsafeOutput
from shared.ledger.preview_queue import Pending, PreviewLine, PreviewRequest
from shared.params import JobParams
from shared.periodic import Periodic
from worker.engine.interface import (
    Engine,
    EngineEvent,
    EngineResult,
    EnlargeJob,
    Pixels,
    StopFlag,
    Urgency,
)
from worker.engine.preview_job import as_preview
from worker.guards.panel import Guards
from worker.job.attempt import engine_job
from worker.job.enlarging import Enlargements, fitted
from worker.job.grey import kept_grey
from worker.job.lora_choice import Chooser
from worker.job.outputs import encode_preview
from worker.job.pyramid import prepared
from worker.job.sources import load_source
from worker.job.transparency import Alpha, alpha_of, fitted_alpha, seen

logger = structlog.get_logger(__name__)

PREVIEW_SIDE = 256

# A source is 0.2 MB; a session is one user's slider.
SOURCES_KEPT = 32
SESSIONS_KEPT = 256

WAIT_SECONDS = 1.0

# How many previews of several sizes are made at once.
COARSE_AT_ONCE = 4


# A small source's pixels and their opacity.
Small = tuple[Pixels, Alpha | None]


class PreviewServer:
    """A thread that takes requests from the queue. `start` and `stop` come in pairs."""

    def __init__(
        self,
        line: PreviewLine,
        blobs: BlobStore,
        chooser: Chooser,
        engine: Engine,
        guards: Guards,
        enlargements: Enlargements,
    ) -> None:
        self._line = line
        self._blobs = blobs
        self._chooser = chooser
        self._engine = engine
        self._sources: OrderedDict[str, Small] = OrderedDict()
        self._newest: OrderedDict[str, StopFlag] = OrderedDict()
        self._guards = guards
        self._enlargements = enlargements
        self._delivery = ThreadPoolExecutor(1, thread_name_prefix="preview-delivery")
        self._coarse = ThreadPoolExecutor(COARSE_AT_ONCE, thread_name_prefix="preview-sizes")
        self._loop = Periodic("previews", self._serve_next, every=0.0)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()
        self._coarse.shutdown(wait=False, cancel_futures=True)
        self._delivery.shutdown(wait=False, cancel_futures=True)

    def _serve_next(self) -> None:
        pending = self._line.next(WAIT_SECONDS)
        if pending is not None:
            self._serve(pending)

    def _serve(self, pending: Pending) -> None:
        self._answered(pending.request, lambda: self._begin(pending))

    def _answered(self, request: PreviewRequest, act: Callable[[], None]) -> None:
        """Acts; any error is the requester's answer."""
        try:
            act()
        except RetouchError as error:
            self._refuse(request, error)
        except Exception:
            logger.exception("a preview failed unexpectedly")
            self._refuse(request, InternalError("something unexpected happened"))

    def _begin(self, pending: Pending) -> None:
        request, stop = pending.request, self._stop_flag(pending)
        smaller = {"max_side": PREVIEW_SIDE, "upscale": 1, "elsewhere": []}
        small = request.params.model_copy(update=smaller)
        pixels, alpha = self._small(request.source.blob, small)
        params, chosen = self._chooser.settle(small, pixels)
        given, levels = (pixels, alpha), params.pyramid or 1
        plan = self._enlargements.plan(params, pixels, chosen)

        def submitted(level: Pixels) -> "Future[EngineResult]":
            job = as_preview(engine_job(level, params, chosen, stop), self._engine.device)
            return self._engine.submit(job, _ignore)

        def enlarged(small: Pixels) -> "Future[EngineResult]":
            assert plan.entry is not None
            job = EnlargeJob(small, plan.times, plan.entry, Urgency.PREVIEW, stop)
            return self._engine.enlarge(job, _ignore)

        def coarse_to_fine() -> None:
            small = plan.shrunk(pixels)
            fine = prepared(small, levels, lambda level: submitted(level).result().pixels)
            last = submitted(fine)
            if plan.share < 1:
                last = enlarged(last.result().pixels)
            # Guards and encoding must not run on the engine's thread, which calls this.
            last.add_done_callback(
                lambda done: self._delivery.submit(self._finish, request, given, done)
            )

        if levels == 1 and plan.share == 1:
            coarse_to_fine()
        else:  # the sizes wait for each other, and other requests must not wait for them
            self._coarse.submit(self._answered, request, coarse_to_fine)

    def _small(self, blob: str, small: JobParams) -> Small:
        """The small source, cached: a slider requests the same one again and again."""
        if blob not in self._sources:
            self._sources[blob] = _load(self._blobs.get(blob), small)
        self._sources.move_to_end(blob)
        while len(self._sources) > SOURCES_KEPT:
            self._sources.popitem(last=False)
        return self._sources[blob]

    def _stop_flag(self, pending: Pending) -> StopFlag:
        """Stops this request when nobody waits for it any more, and at once when a newer one
        arrives.
        """
        flag, request = StopFlag(), pending.request
        flag.stop_after(pending.seconds, NoWorker("nobody waits for this preview any more"))
        if request.session is not None:
            older = self._newest.pop(request.session, None)
            if older is not None:
                older.stop(Superseded("a newer one"))
            self._newest[request.session] = flag
            while len(self._newest) > SESSIONS_KEPT:
                self._newest.popitem(last=False)
        return flag

    def _finish(self, request: PreviewRequest, given: Small, done: "Future[EngineResult]") -> None:
        self._answered(
            request, lambda: self._line.answer(request, self._checked(given, done.result().pixels))
        )

    def _checked(self, given: Small, made: Pixels) -> bytes:
        # An enlarger's picture is larger than the photo, and brings it back to its size.
        made = fitted(made, (given[0].shape[1], given[0].shape[0]))
        pixels, alpha = kept_grey(given[0], made), given[1]
        if not self._guards.is_preview_safe(seen(pixels, alpha)):
            raise UnsafeOutput("the preview is unsafe")
        return encode_preview(pixels, None if alpha is None else fitted_alpha(alpha, pixels))

    def _refuse(self, request: PreviewRequest, error: RetouchError) -> None:
        try:
            self._line.refuse(request, error)
        except RetouchError as away:
            logger.warning("preview not delivered", reason=str(away))


def _load(data: bytes, small: JobParams) -> Small:
    pixels, alpha = load_source(data, small), alpha_of(data)
    return pixels, None if alpha is None else fitted_alpha(alpha, pixels)


def _ignore(_event: EngineEvent) -> None:
    """Nobody follows a preview's progress."""
