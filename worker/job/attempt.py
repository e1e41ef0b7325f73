"""One attempt at one job: pixels, choice, engine, guards, file, commit.

Owns the order of steps and reports each of them to the ledger. Ends with the job committed, or
raises the reason why not; worker/job/runner.py turns that into a state.
"""

import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

import structlog

from shared.errors import (
    JobCanceled,
    LeaseLost,
    RetouchError,
    StorageFull,
    StoreUnavailable,
    UpscalerChanged,
    UpscalerCorrupt,
)
from shared.jobs import (
    Claim,
    Degraded,
    Preview,
    Progress,
    Result,
    Safety,
    Stage,
    StepSignal,
    Timings,
)
from shared.ledger.leftovers import (
    discard_previews_before,
    discard_results_before,
    preview_blob,
    result_blob,
)
from shared.params import DEFAULT_SAMPLER, DEFAULT_TIMESTEP, JobParams
from shared.tracing import note_parts
from shared.upscalers.choice import AUTO
from shared.upscalers.entry import FILTER
from shared.upscalers.factor import settle_factor
from worker.engine.interface import (
    EngineEvent,
    EngineJob,
    EngineResult,
    EnlargeJob,
    OnEvent,
    PartDone,
    Pixels,
    PreviewReady,
    StageStarted,
    StopFlag,
    TileDone,
    Urgency,
)
from worker.guards.panel import Verdict
from worker.job.attempt_parts import AttemptParts
from worker.job.enlarging import Plan, fitted, shrunk_size
from worker.job.grey import kept_grey
from worker.job.history import StageCosts
from worker.job.ineffective import ineffective
from worker.job.leases import obey
from worker.job.lora_choice import BelongsElsewhere, Chosen
from worker.job.masking import Masking
from worker.job.outputs import ResultFile, encode_preview, finished_file
from worker.job.progress import (
    EnlargingCost,
    ProgressThrottle,
    ProgressTracker,
    Tracker,
)
from worker.job.pyramid import coarser_sizes, prepared
from worker.job.refusal import count_strikes, keep_refused
from worker.job.sources import load_source
from worker.job.transparency import Alpha, alpha_of, fitted_alpha, seen

Answer = TypeVar("Answer")

logger = structlog.get_logger(__name__)

# How long the engine is silent before the time counts as progress.
SILENCE_SECONDS = 0.25

# How long a finished picture waits for an unreachable store. Longer than any restart; if the store
# stays away longer, whoever claims the job then runs it again.
STORE_PATIENCE_SECONDS = 600.0


class Rerouted(BaseException):
    """Raised when the job has been given to the workers of another base."""


class Attempt:
    """Runs once, in one thread."""

    def __init__(self, parts: AttemptParts, claim: Claim, stop: StopFlag) -> None:
        self._parts = parts
        self._claim = claim
        self._stop = stop
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}
        self.params = claim.spec.params
        self.verdict = Verdict()
        self.refused: str | None = None
        self._enlarger: Plan | None = None
        self._alpha: Alpha | None = None
        self._masking: Masking | None = None
        self._photo: Pixels | None = None
        self._unenlarged: Pixels | None = None

    @property
    def timings(self) -> Timings:
        """Seconds spent so far, including the time in the queue."""
        parts = {f"{part}_seconds": round(value, 4) for part, value in self._seconds.items()}
        queued = self._claim.queued_seconds
        total = queued + time.monotonic() - self._started
        return Timings(queued_seconds=queued, total_seconds=round(total, 4), **parts)

    def work(self) -> None:
        """Runs the attempt. Raises a RetouchError, JobCanceled, LeaseLost, or the stop flag's other
        reasons.
        """
        spec = self._claim.spec
        self._parts.probe.reached("started", self._claim)
        discard_results_before(self._parts.blobs, spec.id, self._claim.epoch)
        self._photo = pixels = self._load()
        self._parts.guards.check_input(seen(pixels, self._alpha))
        params, chosen = self._settled(spec.params, pixels)
        params = settle_factor(params, (spec.source.width, spec.source.height))
        if params != spec.params:
            # Unlike progress, the parameters of the picture must not be missing from the record.
            store = self._parts.store
            signal = patiently(lambda: store.report_params(self._claim, params), self._stop)
            obey(signal, self._stop)
        self.params = params
        plan = self._parts.enlargements.plan(params, pixels, chosen)
        worked_on = pixels.shape[0] * pixels.shape[1] / 1e6
        megapixels = plan.megapixels if plan.first else worked_on * plan.share**2
        tracker = self._tracker(plan, megapixels, pixels, params)
        result = self._by_filter_if_it_fails(
            plan, lambda plan: self._make(pixels, params, chosen, plan, tracker)
        )
        noted = (*result.degraded, *ineffective(params, chosen))
        result = replace(result, pixels=kept_grey(pixels, result.pixels), degraded=noted)
        checking = tracker.enter(Stage.CHECKING)
        if self._parts.guards.look_at_results:
            self._report(checking)
        safety = self._check(pixels, result.pixels, tracker)
        self._save(result, safety, tracker, plan)
        # A coarse pass is no measure of what a picture of this size costs.
        spent = tracker.spent | own_seconds({**self._seconds, **result.seconds})
        self._learn(spent, megapixels, params.executed_steps, plan)
        self._note_misses(tracker)
        # From this process's clock to that of the world.
        shift = time.time() - time.monotonic()
        note_parts(
            [
                (str(stage), int((began + shift) * 1e9), int((ended + shift) * 1e9))
                for stage, began, ended in tracker.stages
            ]
        )

    def _settled(self, params: JobParams, pixels: Pixels) -> tuple[JobParams, Chosen]:
        """The complete parameters. Raises Rerouted once another base has the job."""
        try:
            return self._parts.chooser.settle(params, pixels)
        except BelongsElsewhere as other:
            store, base, changed = self._parts.store, other.base, other.params
            outcome = patiently(lambda: store.reroute(self._claim, base, changed), self._stop)
        if outcome == "rerouted":
            raise Rerouted(base)
        if outcome == "lost":
            raise LeaseLost
        # No worker of that base is left: this one does what it can.
        return self._parts.chooser.settle(params.model_copy(update={"elsewhere": []}), pixels)

    def _load(self) -> Pixels:
        spec = self._claim.spec
        data = self._sent(spec.source.blob)
        self._alpha = alpha_of(data)
        if spec.mask is not None:
            self._masking = Masking(self._sent(spec.mask.blob))
        return load_source(data, spec.params)

    def _sent(self, blob: str) -> bytes:
        return patiently(lambda: self._parts.blobs.get(blob), self._stop)

    def _by_filter_if_it_fails(
        self, plan: Plan, make: Callable[[Plan], EngineResult]
    ) -> EngineResult:
        """What `make` makes. If a network that the job did not name fails, the filter replaces
        it.
        """
        try:
            made = make(plan)
        except (UpscalerCorrupt, UpscalerChanged) as error:
            if self.params.upscaler != AUTO:
                raise
            logger.warning("enlarged by the filter", reason=str(error))
            self._enlarger = plan = plan.by_filter()
            made = make(plan)
        return replace(made, degraded=tuple(dict.fromkeys(made.degraded + plan.degraded)))

    def _make(
        self,
        pixels: Pixels,
        params: JobParams,
        chosen: Chosen,
        plan: Plan,
        tracker: ProgressTracker,
    ) -> EngineResult:
        """The finished picture: enlarged before or after it is enhanced."""
        before: tuple[str, ...] = ()
        given = plan.shrunk(pixels)
        if plan.first and plan.enlarges:
            larger = self._enlarged(pixels, plan, tracker)
            before, given = larger.degraded, larger.pixels
        coarse, params = self._prepared(given, params, chosen, tracker)
        job = engine_job(coarse, params, chosen, self._stop)
        made = self._follow(lambda told: self._parts.engine.submit(job, told), tracker)
        is_whole = plan.factor > 1 and plan.share == 1
        if is_whole:  # the parts that the mask leaves are enlarged as the others are
            made = replace(made, pixels=self._masked(made.pixels, given))
        self._unenlarged = None
        if plan.enlarges and not plan.first:
            if plan.adds_nothing:
                self._unenlarged = made.pixels if is_whole else self._masked(made.pixels, pixels)
            larger = self._enlarged(made.pixels, plan, tracker)
            made = replace(made, pixels=larger.pixels, degraded=made.degraded + larger.degraded)
        if not is_whole:
            made = replace(made, pixels=self._masked(made.pixels, pixels))
        return replace(made, degraded=before + made.degraded)

    def _masked(self, made: Pixels, photo: Pixels) -> Pixels:
        """The result where the job's mask lets it replace the photo, which has any size."""
        if self._masking is None:
            return made
        return self._masking.composed(fitted(photo, (made.shape[1], made.shape[0])), made)

    def _prepared(
        self, pixels: Pixels, params: JobParams, chosen: Chosen, tracker: ProgressTracker
    ) -> tuple[Pixels, JobParams]:
        """The picture after its coarser levels, and what is left to do; the first one shows the
        preview.
        """
        passes = tracker.coarse_passes()

        def treat(level: Pixels) -> Pixels:
            nonlocal params
            job = engine_job(level, params, chosen, self._stop)
            params = params.model_copy(update={"preview": False})
            coarse = next(passes)
            made = self._follow(lambda told: self._parts.engine.submit(job, told), coarse)
            coarse.finish()
            return made.pixels

        return prepared(pixels, params.pyramid or 1, treat), params

    def _enlarged(self, pixels: Pixels, plan: Plan, tracker: ProgressTracker) -> EngineResult:
        """The picture at the plan's size."""
        made = self._by_network(pixels, plan, tracker)
        return replace(made, pixels=fitted(made.pixels, plan.size))

    def _by_network(self, pixels: Pixels, plan: Plan, tracker: ProgressTracker) -> EngineResult:
        if plan.entry is None:
            return EngineResult(pixels, (), {})
        urgency = Urgency.BATCH if self.params.priority == "batch" else Urgency.INTERACTIVE
        job = EnlargeJob(pixels, plan.times, plan.entry, urgency, self._stop)
        # A small picture is one tile: without this, nothing would be told before its end.
        self._report(tracker.tile(0, 1))
        made = self._follow(lambda told: self._parts.engine.enlarge(job, told), tracker)
        self._learn_enlarging(plan.entry.name, made.seconds, pixels)
        return made

    def _follow(
        self, begin: Callable[[OnEvent], "Future[EngineResult]"], tracker: Tracker
    ) -> EngineResult:
        events: queue.SimpleQueue[EngineEvent | None] = queue.SimpleQueue()
        throttle = ProgressThrottle(self._report)

        def on_event(event: EngineEvent) -> None:
            self._parts.pulse.beat()
            events.put(event)

        with self._parts.pulse.expected():
            future = begin(on_event)
            future.add_done_callback(lambda _: events.put(None))
            while (event := next_event(events, throttle, tracker)) is not None:
                self._on_event(event, tracker, throttle)
        result = future.result()
        for part, seconds in result.seconds.items():
            self._seconds[part] = self._seconds.get(part, 0.0) + seconds
        return result

    def _on_event(self, event: EngineEvent, tracker: Tracker, throttle: ProgressThrottle) -> None:
        if isinstance(event, PreviewReady):
            self._show(event.pixels)
        elif isinstance(event, StageStarted):
            throttle.report(tracker.enter(event.stage))
        elif isinstance(event, TileDone):
            throttle.report(tracker.tile(event.tile, event.total))
        elif isinstance(event, PartDone):
            throttle.report(tracker.part(event.stage, event.done, event.total))
        else:
            throttle.report(tracker.step(event.step))

    def _show(self, pixels: Pixels) -> None:
        if self._photo is not None:
            pixels = self._masked(pixels, self._photo)
        if not self._parts.guards.is_preview_safe(seen(pixels, self._alpha)):
            return
        spec, (height, width) = self._claim.spec, pixels.shape[:2]
        blob = preview_blob(spec.id, self._claim.epoch)
        try:
            self._parts.blobs.put(blob, encode_preview(pixels, self._alpha_for(pixels)))
        except RetouchError as error:
            logger.warning("preview not stored", job=spec.id, reason=str(error))
            return
        preview = Preview(blob=blob, width=width, height=height)
        signal = self._tell(lambda: self._parts.store.report_preview(self._claim, preview))
        if signal in (None, StepSignal.LOST):
            self._parts.blobs.delete(blob)  # the ledger does not refer to it
        else:
            discard_previews_before(self._parts.blobs, spec.id, self._claim.epoch)

    def _check(self, given: Pixels, output: Pixels, tracker: ProgressTracker) -> Safety:
        """Raises UnsafeOutput or WatermarkInOutput, after counting strikes and keeping a copy.

        What the base and its LoRAs made is compared, not its enlargement, whose crisper edges were
        taken for marks.
        """
        since = time.monotonic()

        def told(done: int, total: int) -> None:
            self._report(tracker.part(Stage.CHECKING, done, total))

        made = output if self._unenlarged is None else kept_grey(given, self._unenlarged)
        before, after = seen(given, self._alpha), seen(made, self._alpha)
        self.verdict = found = self._parts.guards.check_output(before, after, told)
        self._seconds["checking"] = time.monotonic() - since
        if found.error is None:
            return found.safety
        parts, claim = self._parts, self._claim
        patiently(lambda: count_strikes(parts, claim, self.params, found), self._stop)
        self.refused = keep_refused(parts, claim, self._file(output))
        raise found.error("; ".join(found.details))

    def _file(self, pixels: Pixels) -> ResultFile:
        return finished_file(pixels, self.params, self._claim.spec.source, self._alpha_for(pixels))

    def _save(
        self, result: EngineResult, safety: Safety, tracker: ProgressTracker, plan: Plan
    ) -> None:
        saving = tracker.enter(Stage.SAVING)
        if tracker.is_seen(Stage.SAVING):
            self._report(saving)
        since = time.monotonic()
        file = self._file(result.pixels)
        sealed = self._parts.seal(file.data, file.format)
        blob = result_blob(self._claim.spec.id, self._claim.epoch, file.format)
        self._parts.probe.reached("encoded", self._claim)
        patiently(lambda: self._parts.blobs.put(blob, sealed), self._stop)
        self._seconds["saving"] = time.monotonic() - since
        self._parts.probe.reached("stored", self._claim)
        plan = self._enlarger or plan
        record = described(result, file, sealed, blob, safety)
        record = record.model_copy(update={"upscale": plan.factor, "upscaler": plan.name})
        self._commit(record, [*result.degraded, *file.given_up], tracker.finish())

    def _alpha_for(self, pixels: Pixels) -> Alpha | None:
        return None if self._alpha is None else fitted_alpha(self._alpha, pixels)

    def _commit(self, result: Result, given_up: list[str], progress: Progress) -> None:
        degraded = [Degraded(code=code) for code in given_up]
        store, timings = self._parts.store, self.timings
        # Repeated until the ledger answers, whatever the stop flag says meanwhile: the lease may be
        # gone because this very commit was carried out and its answer was lost.
        outcome = patiently(lambda: store.commit(self._claim, result, progress, timings, degraded))
        self._parts.probe.reached(outcome, self._claim)
        if outcome != "committed":
            self._parts.blobs.delete(result.blob)
            raise JobCanceled if outcome == "canceled" else LeaseLost

    def _tracker(
        self, plan: Plan, megapixels: float, pixels: Pixels, params: JobParams
    ) -> ProgressTracker:
        cost = EnlargingCost()
        if plan.enlarges:
            worked_on = pixels.shape[0] * pixels.shape[1] / 1e6 * plan.share**2
            seconds = self._enlarging_seconds(plan) * worked_on
            cost = EnlargingCost(seconds, Stage.LOADING if plan.first else Stage.DECODING)
        width, height = plan.size
        if not plan.first:
            width, height = shrunk_size(pixels.shape[1], pixels.shape[0], plan.share)
        return ProgressTracker(
            self._costs(),
            megapixels,
            params.executed_steps,
            enlarging=cost,
            result_megapixels=plan.megapixels,
            coarser=[w * h / 1e6 for w, h in coarser_sizes(width, height, params.pyramid or 1)],
            opened=time.monotonic() - self._started,
        )

    def _enlarging_seconds(self, plan: Plan) -> float:
        """Per megapixel."""
        try:
            return self._parts.history.enlarging(plan.name or FILTER, plan.guess)
        except RetouchError as error:
            logger.warning("history not read", reason=str(error))
            return plan.guess

    def _learn_enlarging(self, name: str, seconds: Mapping[str, float], pixels: Pixels) -> None:
        megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
        try:
            self._parts.history.learn_enlarging(name, seconds.get("enlarging", 0.0), megapixels)
        except RetouchError as error:
            logger.warning("history not stored", reason=str(error))

    def _costs(self) -> StageCosts:
        try:
            return self._parts.history.costs()
        except RetouchError as error:
            logger.warning("history not read", reason=str(error))
            return StageCosts()

    def _learn(self, spent: dict[Stage, float], megapixels: float, steps: int, plan: Plan) -> None:
        try:
            self._parts.history.learn(spent, megapixels, steps, plan.megapixels)
        except RetouchError as error:
            logger.warning("history not stored", reason=str(error))

    def _note_misses(self, tracker: ProgressTracker) -> None:
        try:
            self._parts.store.note_misses(self._claim.spec.base, tracker.misses())
        except RetouchError as error:
            logger.warning("accuracy of the percentage not counted", reason=str(error))

    def _report(self, progress: Progress) -> None:
        self._tell(lambda: self._parts.store.report_progress(self._claim, progress))

    def _tell(self, report: Callable[[], StepSignal]) -> StepSignal | None:
        # An unreachable store must not stop a picture in progress: only the commit waits for it.
        try:
            signal = report()
        except RetouchError as error:
            logger.warning("report not stored", job=self._claim.spec.id, reason=str(error))
            return None
        obey(signal, self._stop)
        return signal


def next_event(
    events: "queue.SimpleQueue[EngineEvent | None]", throttle: ProgressThrottle, tracker: Tracker
) -> EngineEvent | None:
    """The engine's next event; while it is silent, held-back progress is sent, and then what the
    time says.
    """
    while True:
        held_back = throttle.next_report_seconds
        try:
            return events.get(timeout=SILENCE_SECONDS if held_back is None else held_back)
        except queue.Empty:
            if held_back is None:
                throttle.report(tracker.passing())
            else:
                throttle.flush()


def own_seconds(parts: Mapping[str, float]) -> dict[Stage, float]:
    """What the engine itself spent on each stage; wall-clock time would include other rows' work.

    A preview is made while the job loads, and counts as loading.
    """
    own = {stage: parts[stage] for stage in Stage if stage in parts}
    if "preview" in parts:
        own[Stage.LOADING] = own.get(Stage.LOADING, 0.0) + parts["preview"]
    return own


def engine_job(pixels: Pixels, params: JobParams, chosen: Chosen, stop: StopFlag) -> EngineJob:
    """The engine's input for settled parameters."""
    assert params.strength is not None
    assert params.steps is not None
    assert params.guidance_scale is not None
    assert params.seed is not None
    return EngineJob(
        pixels=pixels,
        prompt=params.prompt or "",
        negative_prompt=params.negative_prompt or "",
        strength=params.strength,
        steps=params.steps,
        guidance_scale=params.guidance_scale,
        sampler=params.sampler or DEFAULT_SAMPLER,
        timestep=params.timestep or DEFAULT_TIMESTEP,
        predicts_difference=any(entry.predicts_difference for entry, _ in chosen),
        pixel_scale=1.0 if params.pixel_scale is None else params.pixel_scale,
        semantic_scale=1.0 if params.semantic_scale is None else params.semantic_scale,
        trailing=any(entry.few_steps is not None for entry, _ in chosen),
        seed=params.seed,
        loras=chosen,
        fidelity=params.fidelity or "none",
        preview=params.preview,
        urgency=Urgency.BATCH if params.priority == "batch" else Urgency.INTERACTIVE,
        stop=stop,
        deterministic=params.deterministic,
    )


def described(
    made: EngineResult, file: ResultFile, data: bytes, blob: str, safety: Safety
) -> Result:
    """The record of a finished picture."""
    height, width = made.pixels.shape[:2]
    return Result(
        blob=blob,
        width=width,
        height=height,
        format=file.format,
        size_bytes=len(data),
        sha256=sha256(data).hexdigest(),
        safety=safety,
        ran_by=made.ran_by,
    )


def patiently(
    action: Callable[[], Answer],
    stop: StopFlag | None = None,
    seconds: float = STORE_PATIENCE_SECONDS,
) -> Answer:
    """Repeats while the store or disk is unavailable or full, for this long or until the flag is
    set.
    """
    deadline, pause = time.monotonic() + seconds, 0.1
    while True:
        try:
            return action()
        except (StoreUnavailable, StorageFull):
            if time.monotonic() > deadline:
                raise
            if stop is not None:
                stop.check()
            time.sleep(pause)
            pause = min(0.5, pause * 2)
