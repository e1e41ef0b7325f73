"""The routes: img2img, the extras, progress, interrupt, lists; and refusals of unsupported ones."""

import os
import resource
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, RootModel
from starlette.concurrency import run_in_threadpool

from api.access.guard import LanguageDep, Reader, ServicesDep, Submitter
from api.access.keys import Caller
from api.faces.dialect import no_picture_from_words
from api.faces.sdapi import lists
from api.faces.sdapi.answers import img2img_answer, live_preview, made, progress_answer, share
from api.faces.sdapi.body import received_body
from api.faces.sdapi.current import Current, current_requests, noted
from api.faces.sdapi.docs import EXTRA, EXTRAS, IMAGES, PROGRESS, json_of, refusals
from api.faces.sdapi.errors import SdapiRoute, failure_response
from api.faces.sdapi.extras_form import BatchExtras, SingleExtras
from api.faces.sdapi.form import Img2Img
from api.faces.sdapi.infotext import settings_of, text_of
from api.faces.sdapi.options import options_of, set_options, shown_options
from api.faces.sdapi.orders import Order, extras_order, img2img_order
from api.faces.sdapi.pictures import decoded, encoded
from api.intake.json_body import checked_json
from api.intake.upload import received_json
from api.jobs.waiting import awaited, caller_present, ended_jobs
from api.services import Services
from shared.jobs import Job
from shared.messages import Language

TAG = {
    "name": "sdapi",
    "description": "AUTOMATIC1111's routes; with keys set, the password of Basic authentication "
    "is the key.",
}
WORK = refusals(400, 401, 403, 404, 413, 415, 422, 429, 500, 503)
LOOK = refusals(401, 403, 429, 503)
FINISHED_SECONDS = 600

router = APIRouter(tags=["sdapi"], route_class=SdapiRoute)


class Task(BaseModel):
    """The request of AUTOMATIC1111's own page for the progress of one task."""

    id_task: Annotated[str, Field(max_length=200)] = ""
    id_live_preview: int | None = -1
    live_preview: bool | None = True


class PngInfo(BaseModel):
    """A request for the text in a picture."""

    image: str


@router.post(
    "/sdapi/v1/img2img",
    operation_id="sdapiImgToImg",
    summary="Enhance pictures and wait for them",
    response_class=Response,
    responses={200: IMAGES, **WORK},
    openapi_extra={"requestBody": json_of(Img2Img)},
)
async def img2img(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    asked, order = await img2img_order(request, services, caller, language)
    task = asked.force_task_id or ""
    jobs = await _ended(request, services, caller, order, task)
    failed = _first_failure(request, jobs)
    if failed is not None:
        return failed
    if task:
        name = f"sdapi-finished:{caller.name}:{task}"
        await run_in_threadpool(services.notes.write, name, "1", FINISHED_SECONDS)

    def answer() -> Response:
        pictures = made(services, jobs, order.wanted)
        return _fresh(img2img_answer(asked, pictures, order.ignored))

    return await run_in_threadpool(answer)


@router.post(
    "/sdapi/v1/extra-single-image",
    operation_id="sdapiExtra",
    summary="Enlarge a picture and wait for it",
    response_class=Response,
    responses={200: EXTRA, **WORK},
    openapi_extra={"requestBody": json_of(SingleExtras)},
)
async def extra_single_image(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    return await _enlarged(request, services, caller, language, SingleExtras)


@router.post(
    "/sdapi/v1/extra-batch-images",
    operation_id="sdapiExtras",
    summary="Enlarge several pictures and wait for them",
    response_class=Response,
    responses={200: EXTRAS, **WORK},
    openapi_extra={"requestBody": json_of(BatchExtras)},
)
async def extra_batch_images(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    return await _enlarged(request, services, caller, language, BatchExtras)


@router.post(
    "/sdapi/v1/txt2img",
    operation_id="sdapiTxtToImg",
    summary="Not supported: retouch enhances photos and makes none from text",
    responses=refusals(401, 403, 422, 429),
)
async def txt2img(caller: Submitter, language: LanguageDep) -> None:
    del caller
    raise no_picture_from_words("/init_images", "/sdapi/v1/img2img", language)


@router.get(
    "/sdapi/v1/progress",
    operation_id="sdapiProgress",
    summary="Progress of the caller's own request",
    responses={200: PROGRESS, **LOOK},
)
def get_progress(
    request: Request,
    services: ServicesDep,
    caller: Reader,
    skip_current_image: Annotated[bool, Query()] = False,
) -> dict[str, Any]:
    current = next(iter(current_requests(request, services, caller)), None)
    return progress_answer(services, current, with_image=not skip_current_image)


@router.post(
    "/sdapi/v1/internal/progress",
    operation_id="sdapiTaskProgress",
    summary="Progress of one of the caller's tasks",
    responses={**LOOK, **refusals(413, 415, 422)},
    openapi_extra={"requestBody": json_of(Task)},
)
@router.post("/internal/progress", include_in_schema=False)
async def get_task_progress(
    request: Request, services: ServicesDep, caller: Reader, language: LanguageDep
) -> dict[str, Any]:
    task = checked_json(Task, await received_json(request), language)
    return await run_in_threadpool(_task_progress, request, services, caller, task)


@router.get(
    "/sdapi/v1/internal/ping", operation_id="sdapiPing", summary="Whether the service answers"
)
@router.get("/internal/ping", include_in_schema=False)
def ping() -> dict[str, Any]:
    return {}


@router.post(
    "/sdapi/v1/interrupt",
    operation_id="sdapiInterrupt",
    summary="Stop the caller's own request: it returns what is finished so far",
    responses=LOOK,
)
def interrupt(request: Request, services: ServicesDep, caller: Submitter) -> dict[str, Any]:
    for current in current_requests(request, services, caller)[:1]:
        for job in current.unfinished:
            services.store.cancel(job.id)
    return {}


@router.post(
    "/sdapi/v1/skip",
    operation_id="sdapiSkip",
    summary="Stop the running picture of the caller's own request, and continue with the next",
    responses=LOOK,
)
def skip(request: Request, services: ServicesDep, caller: Submitter) -> dict[str, Any]:
    for current in current_requests(request, services, caller)[:1]:
        services.store.cancel(current.unfinished[0].id)
    return {}


@router.get(
    "/sdapi/v1/options",
    operation_id="sdapiOptions",
    summary="The caller's options",
    responses=LOOK,
)
def get_options(request: Request, services: ServicesDep, caller: Reader) -> dict[str, Any]:
    return shown_options(options_of(request, services, caller), services)


@router.post(
    "/sdapi/v1/options",
    operation_id="sdapiSetOptions",
    summary="Set options for this caller only; options without a meaning here are dropped",
    responses={**LOOK, **refusals(413, 415, 422)},
    openapi_extra={"requestBody": json_of(RootModel[dict[str, Any]])},
)
async def post_options(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> None:
    changes = checked_json(RootModel[dict[str, Any]], await received_json(request), language)
    await run_in_threadpool(set_options, request, services, caller, changes.root)


@router.post(
    "/sdapi/v1/png-info",
    operation_id="sdapiPngInfo",
    summary="The text in a PNG",
    responses=WORK,
    openapi_extra={"requestBody": json_of(PngInfo)},
)
async def png_info(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> dict[str, Any]:
    async with received_body(request, services, caller, PngInfo, language) as asked:
        text = await run_in_threadpool(lambda: text_of(decoded(asked.image)))
    items = {"parameters": text} if text else {}
    return {"info": text, "items": items, "parameters": settings_of(text) if text else {}}


@router.get(
    "/sdapi/v1/memory",
    operation_id="sdapiMemory",
    summary="This gateway's memory",
    responses=LOOK,
)
def get_memory(caller: Reader) -> dict[str, Any]:
    del caller
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ram = {"free": total - most, "used": most, "total": total}
    return {"ram": ram, "cuda": {"error": "the gateway has no device; GET /v1/workers lists them"}}


async def _ended(
    request: Request, services: Services, caller: Caller, order: Order, task: str = ""
) -> list[Job]:
    async with (
        noted(request, services, caller, task, order.job_ids),
        caller_present(request),
        awaited(services, order.job_ids),
    ):
        return await ended_jobs(services, caller, order.job_ids)


async def _enlarged(
    request: Request,
    services: Services,
    caller: Caller,
    language: Language,
    model: type[SingleExtras] | type[BatchExtras],
) -> Response:
    order = await extras_order(request, services, caller, language, model)
    jobs = await _ended(request, services, caller, order)
    failed = _first_failure(request, jobs)
    if failed is not None:
        return failed

    def answer() -> Response:
        images = [encoded(one.data) for one in made(services, jobs, order.wanted)]
        return _fresh({"html_info": _said(order), **model.answer(images)})

    return await run_in_threadpool(answer)


def _first_failure(request: Request, jobs: list[Job]) -> Response | None:
    failure = next((job.failure for job in jobs if job.failure is not None), None)
    return None if failure is None else failure_response(request, failure)


def _task_progress(
    request: Request, services: Services, caller: Caller, task: Task
) -> dict[str, Any]:
    found: Current | None = None
    if task.id_task:
        requests = current_requests(request, services, caller)
        found = next((one for one in requests if one.task == task.id_task), None)
    name = f"sdapi-finished:{caller.name}:{task.id_task}"
    is_finished = found is None and services.notes.read(name) is not None
    job = found.unfinished[0] if found else None
    is_running = job is not None and job.worker is not None
    image = live_preview(services, job) if job and task.live_preview else None
    return {
        "active": is_running,
        "queued": found is not None and not is_running,
        "completed": is_finished,
        "progress": round(share(found), 4) if found else None,
        "eta": job.progress.eta_seconds if job else None,
        "live_preview": f"data:image/png;base64,{image}" if image else None,
        "id_live_preview": job.progress.step if job and image else task.id_live_preview,
        "textinfo": None if is_running or is_finished else "Waiting...",
    }


def _said(order: Order) -> str:
    return f"<p>Without effect: {', '.join(order.ignored)}</p>" if order.ignored else ""


def _fresh(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _list(path: str, operation_id: str, summary: str, of: Any) -> None:
    def listed(services: ServicesDep, caller: Reader) -> Any:
        del caller
        return of(services)

    router.add_api_route(
        f"/sdapi/v1/{path}",
        listed,
        operation_id=operation_id,
        summary=summary,
        responses=LOOK,
        response_model=None,
    )


_list("loras", "sdapiLoras", "The LoRAs that a prompt may name", lists.loras)
_list("sd-models", "sdapiModels", "The base of this service", lists.models)
_list("upscalers", "sdapiUpscalers", "None, a filter, and the enlargers", lists.upscalers)
_list("samplers", "sdapiSamplers", "The supported samplers", lambda _: lists.samplers())
_list("schedulers", "sdapiSchedulers", "The one in use", lambda _: lists.schedulers())
for _path, _name, _empty in (
    ("latent-upscale-modes", "sdapiLatentUpscaleModes", []),
    ("sd-vae", "sdapiVaes", []),
    ("hypernetworks", "sdapiHypernetworks", []),
    ("face-restorers", "sdapiFaceRestorers", []),
    ("realesrgan-models", "sdapiRealesrganModels", []),
    ("prompt-styles", "sdapiPromptStyles", []),
    ("script-info", "sdapiScriptInfo", []),
    ("scripts", "sdapiScripts", {"txt2img": [], "img2img": []}),
    ("embeddings", "sdapiEmbeddings", {"loaded": {}, "skipped": {}}),
    ("cmd-flags", "sdapiCmdFlags", {}),
):
    _list(_path, _name, "Always empty", lambda _, empty=_empty: empty)


@router.post(
    "/sdapi/v1/refresh-loras",
    operation_id="sdapiRefreshLoras",
    summary="Does nothing: new files are found automatically",
    responses=LOOK,
)
def refresh_loras(caller: Reader) -> None:
    del caller


@router.post(
    "/sdapi/v1/refresh-checkpoints",
    operation_id="sdapiRefreshCheckpoints",
    summary="Does nothing: the base is chosen when the service starts",
    responses=LOOK,
)
def refresh_checkpoints(caller: Reader) -> None:
    del caller
