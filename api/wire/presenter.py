"""Turns records into answers: the one place that defines how a job's owner sees it.

Owns the language of messages and what is left out (blob names, other callers). Knows nothing of
routes beyond their addresses.
"""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from api.wire.addresses import address
from api.wire.schemas import (
    BaseView,
    ErrorView,
    JobView,
    LaterView,
    LinksView,
    LoraView,
    MaskView,
    NoticeView,
    ParamsView,
    ProgressView,
    QueueView,
    ResultView,
    SafetyView,
    SourceView,
    UpscalerView,
    WebhookView,
)
from shared.errors import ERRORS
from shared.jobs import (
    Delivery,
    Event,
    EventKind,
    Failure,
    Job,
    JobState,
    Mask,
    Progress,
    Result,
    Safety,
    Source,
)
from shared.ledger.roster import ServedBase
from shared.loras.entry import LoraEntry
from shared.messages import (
    Language,
    advice,
    degraded_message,
    flag_message,
    stage_message,
    title,
    unserved_message,
    warning_message,
    webhook_message,
)
from shared.params import DEFAULT_SAMPLER, DEFAULT_STEPS, JobParams
from shared.upscalers.entry import UpscalerEntry


def job_view(job: Job, language: Language) -> JobView:
    """A job in the caller's language."""
    stage = job.progress.stage if job.state is JobState.RUNNING else None
    return JobView(
        id=job.id,
        state=job.state,
        stage=stage,
        progress=_progress_of(job, language),
        queue=QueueView(position=job.queue_position, size=job.queue_size),
        attempt=job.attempt,
        base=job.spec.base,
        worker=job.worker,
        params=params_view(job.params, language),
        degraded=[
            NoticeView(code=item.code, message=degraded_message(item.code, language))
            for item in job.degraded
        ],
        source=source_view(job.spec.source, language),
        mask=mask_view(job.spec.mask) if job.spec.mask else None,
        result=result_view(job.result, language) if job.result else None,
        timings=job.timings.of_this_version(),
        error=error_view(job.failure, language) if job.failure else None,
        webhook=webhook_view(job.webhook, language) if job.webhook else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        links=links_of(job.id),
    )


def later_view(job: Job, waited_seconds: int, language: Language) -> LaterView:
    """A job for a caller who waited for its picture and has to ask again."""
    links = links_of(job.id)
    if language == "zh":
        said = (
            f"等待 {waited_seconds} 秒后图片仍未完成；请查看 {links.self}，"
            f"完成后到 {links.image} 获取。"
        )
    else:
        said = (
            f"The picture is not finished after {waited_seconds} s. See {links.self}; once the "
            f"job has succeeded, fetch the picture at {links.image}."
        )
    return LaterView(**dict(job_view(job, language)), message=said)


def _progress_of(job: Job, language: Language) -> ProgressView:
    """The job's progress; a job that no worker can take says so."""
    view = progress_view(job.progress, job.state, language)
    if job.state is not JobState.QUEUED or job.is_served:
        return view
    return view.model_copy(update={"message": unserved_message(job.spec.base, language)})


def progress_view(progress: Progress, state: JobState, language: Language) -> ProgressView:
    """Progress with a message for its stage, or for the state if the job is not running."""
    said = progress.stage if state is JobState.RUNNING and progress.stage else state
    return ProgressView(
        percent=progress.percent,
        step=progress.step,
        total_steps=progress.total_steps,
        eta_seconds=progress.eta_seconds,
        message=stage_message(said, language),
    )


def params_view(params: JobParams, language: Language) -> ParamsView:
    """The parameters, the number of executed steps, and why LoRA, sampler and factor were used."""
    hidden = {
        *("lora_reason_zh", "sampler_reason_zh", "upscale_reason_zh"),
        *("upscaler_sha256", "elsewhere"),
    }
    fields = params.of_this_version().model_dump(exclude=hidden, warnings=False)
    if language == "zh":
        fields["lora_reason"] = params.lora_reason_zh or params.lora_reason
        fields["sampler_reason"] = params.sampler_reason_zh or params.sampler_reason
        fields["upscale_reason"] = params.upscale_reason_zh or params.upscale_reason
    fields["steps"] = params.steps or DEFAULT_STEPS
    return ParamsView(**fields, executed_steps=params.executed_steps)


def source_view(source: Source, language: Language) -> SourceView:
    """The upload without its storage location and metadata."""
    return SourceView(
        width=source.width,
        height=source.height,
        format=source.format,
        has_alpha=source.has_alpha,
        warnings=warnings_view(source.warnings, language),
    )


def mask_view(mask: Mask) -> MaskView:
    """A mask without its storage location."""
    return MaskView(width=mask.width, height=mask.height)


def result_view(result: Result, language: Language) -> ResultView:
    """A result without its storage location."""
    shown = result.of_this_version().model_dump(exclude={"blob", "safety"}, warnings=False)
    return ResultView(**shown, safety=safety_view(result.safety, language))


def safety_view(safety: Safety, language: Language) -> SafetyView:
    """What the guards measured, and in words what they suspect."""
    said = [NoticeView(code=flag, message=flag_message(flag, language)) for flag in safety.flags]
    return SafetyView(**safety.of_this_version().model_dump(warnings=False), warnings=said)


def error_view(failure: Failure, language: Language) -> ErrorView:
    """A failure with its messages; a code that this version does not know is shown unchanged."""
    known = failure.code in ERRORS
    message = title(failure.code, language) if known else failure.message
    return ErrorView(
        code=failure.code,
        message=message + _blame(failure.loras, language),
        advice=advice(failure.code if known else "internal_error", language),
        retryable=failure.retryable,
        flags=failure.flags,
        loras=failure.loras,
    )


def webhook_view(delivery: Delivery, language: Language) -> WebhookView:
    """The outcome of a webhook, with its message."""
    reason = None
    if delivery.reason is not None:
        said = webhook_message(delivery.reason, language)
        reason = NoticeView(code=delivery.reason, message=said)
    return WebhookView(state=delivery.state, attempts=delivery.attempts, reason=reason)


def _blame(loras: list[str], language: Language) -> str:
    if not loras:
        return ""
    return f"LoRA：{'、'.join(loras)}。" if language == "zh" else f" LoRA: {', '.join(loras)}."


def links_of(job_id: str) -> LinksView:
    """A job's addresses."""
    root = address(f"/v1/jobs/{job_id}")
    return LinksView(
        self=root,
        events=f"{root}/events",
        socket=f"{root}/socket",
        image=f"{root}/image",
        preview=f"{root}/preview",
        source=f"{root}/source",
        cancel=root,
    )


def event_data(event: Event, job_id: str, language: Language) -> dict[str, Any]:
    """The data of an event, in the same formats as the job itself."""
    data = event.data
    if event.kind is EventKind.STATE:
        return _state_data(data, language)
    if event.kind is EventKind.PROGRESS:
        progress = Progress.read_fields(data)
        running = JobState.SUCCEEDED if progress.percent >= 100 else JobState.RUNNING
        view = progress_view(progress, running, language)
        return {"stage": progress.stage, **view.shown()}
    if event.kind is EventKind.PREVIEW:
        shown = {name: data.get(name) for name in ("width", "height", "media_type")}
        return {**shown, "url": links_of(job_id).preview}
    if event.kind is EventKind.RESULT:
        result = result_view(Result.read_fields(data), language)
        return {**result.shown(), "url": links_of(job_id).image}
    return error_view(Failure.read_fields(data), language).shown()


def _state_data(data: dict[str, Any], language: Language) -> dict[str, Any]:
    if "state" in data:
        return {**data, "message": stage_message(data["state"], language)}
    # Parameters settled by a worker are sent as an update of a running job.
    params = params_view(JobParams.read_fields(data), language).model_dump(
        mode="json", warnings=False
    )
    return {"state": JobState.RUNNING, "params": params}


def base_view(served: ServedBase) -> BaseView:
    """A base of the fleet."""
    base = served.base
    return BaseView(
        id=served.name,
        family=served.family,
        label=base.label,
        guidance_scale=base.guidance_scale,
        steps=base.steps or DEFAULT_STEPS,
        sampler=(base.sampler or DEFAULT_SAMPLER) if base.has_unet else None,
        workers=served.workers,
        served=served.workers > 0,
        complaints=list(served.defaults.complaints),
    )


def lora_view(entry: LoraEntry, served_by: list[str], language: Language) -> LoraView:
    """A catalogue entry without its file's location; `served_by` are the bases of its family that
    workers serve now.
    """
    sample = f"/v1/loras/{quote(entry.name, safe='')}/sample" if entry.sample else None
    own = {"title", "reason", "sample_url", "few_steps", "served_by"}
    shown = entry.model_dump(include=set(LoraView.model_fields) - own)
    few = entry.few_steps
    for name in ("sampler", "guidance_scale", "steps"):
        if few is not None and shown[name] is None:
            shown[name] = getattr(few, name)
    return LoraView(
        **shown,
        title=entry.title.get(language) or entry.title.get("en") or entry.short_name,
        served_by=served_by,
        reason=entry.reason_zh if language == "zh" else entry.reason,
        sample_url=address(sample) if sample else None,
        few_steps=few.label if few is not None else None,
    )


def upscaler_view(entry: UpscalerEntry, language: Language) -> UpscalerView:
    """A catalogue entry without its file's location."""
    shown = entry.model_dump(include=set(UpscalerView.model_fields) - {"title", "reason"})
    return UpscalerView(
        **shown,
        title=entry.title.get(language) or entry.title.get("en") or entry.name,
        reason=entry.reason_zh if language == "zh" else entry.reason,
    )


def warnings_view(codes: list[str], language: Language) -> list[NoticeView]:
    """The changes made to an upload."""
    return [NoticeView(code=code, message=warning_message(code, language)) for code in codes]


def has_expired(job: Job, now: datetime) -> bool:
    """Whether the picture of a finished job has expired."""
    return job.state is JobState.SUCCEEDED and job.expires_at <= now
