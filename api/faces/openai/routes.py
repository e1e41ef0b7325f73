"""The routes of OpenAI's images, and refusals of those that this service does not support."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.access.guard import LanguageDep, Reader, ServicesDep, Submitter
from api.access.keys import Caller
from api.faces.dialect import no_picture_from_words
from api.faces.openai.answers import addressed_picture, images_response
from api.faces.openai.docs import EDIT_FORM, IMAGES, MODEL, MODELS, VARIATION_FORM, refusals
from api.faces.openai.errors import ModelNotFound, OpenAIRoute, failure_response
from api.faces.openai.models import model_ids, model_view
from api.faces.openai.orders import Order, receive_order
from api.faces.openai.streaming import EventStream
from api.jobs.waiting import awaited, caller_present, ended_jobs
from api.services import Services
from api.wire.sentence import Sentence
from shared.errors import NotFound

TAG = {
    "name": "openai",
    "description": "OpenAI's image routes: point its clients' base URL to /v1.",
}

router = APIRouter(prefix="/v1", tags=["openai"], route_class=OpenAIRoute)


@router.post(
    "/images/edits",
    operation_id="openaiEdit",
    summary="Enhance pictures and wait for them",
    response_class=Response,
    responses={200: IMAGES, **refusals(400, 401, 403, 404, 409, 413, 429, 500, 503)},
    openapi_extra={"requestBody": EDIT_FORM},
)
async def edit_images(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    order = await receive_order(request, services, caller, language)
    if order.read.form.stream:
        return EventStream(request, services, caller, order)
    return await _whole(request, services, caller, order)


@router.post(
    "/images/variations",
    operation_id="openaiVary",
    summary="Enhance a picture without words, `n` times with other seeds",
    response_class=Response,
    responses={200: IMAGES, **refusals(400, 401, 403, 404, 409, 413, 429, 500, 503)},
    openapi_extra={"requestBody": VARIATION_FORM},
)
async def vary_image(
    request: Request, services: ServicesDep, caller: Submitter, language: LanguageDep
) -> Response:
    order = await receive_order(request, services, caller, language)
    return await _whole(request, services, caller, order)


@router.post(
    "/images/generations",
    operation_id="openaiGenerate",
    summary="Not supported: retouch enhances photos and makes none from text",
    responses=refusals(400, 401, 403, 429),
)
async def generate_images(caller: Submitter, language: LanguageDep) -> None:
    del caller
    raise no_picture_from_words("/image", "/v1/images/edits", language)


@router.get(
    "/images/results/{token}",
    operation_id="openaiResult",
    summary="The picture at an address of `response_format=url`",
    response_class=Response,
    responses=refusals(410, 503),
)
def get_result(token: str, services: ServicesDep) -> Response:
    data, media_type = addressed_picture(services, token)
    return Response(data, media_type=media_type, headers={"Cache-Control": "private, max-age=3600"})


@router.get(
    "/models",
    operation_id="openaiModels",
    summary="The values of `model`",
    responses={200: MODELS, **refusals(401, 403, 429)},
)
def list_models(services: ServicesDep, caller: Reader) -> dict[str, Any]:
    del caller
    return {"object": "list", "data": [model_view(name) for name in model_ids(services)]}


@router.get(
    "/models/{model_id:path}",
    operation_id="openaiModel",
    summary="One model",
    responses={200: MODEL, **refusals(401, 403, 404, 429)},
)
def get_model(model_id: str, services: ServicesDep, caller: Reader) -> dict[str, Any]:
    del caller
    if model_id not in model_ids(services):
        raise ModelNotFound(Sentence("there is no model with that name", "没有这个名字的模型"))
    return model_view(model_id)


async def _whole(request: Request, services: Services, caller: Caller, order: Order) -> Response:
    async with (
        caller_present(request),
        awaited(services, order.job_ids, order.tries.patience),
    ):
        jobs = await ended_jobs(services, caller, order.job_ids)
        failure = next((job.failure for job in jobs if job.failure is not None), None)
        if failure is not None:
            return failure_response(request, failure)
        body = await run_in_threadpool(images_response, request, services, order, jobs)
    return JSONResponse(body, headers={"x-request-id": order.job_ids[0], **_private()})


# What OpenAI's clients also know, and nobody here does.
OTHER_APIS = (
    *("chat/completions", "completions", "responses", "embeddings", "moderations"),
    *("audio/speech", "audio/transcriptions", "audio/translations", "files", "videos", "batches"),
)


async def refuse_other_api(caller: Reader) -> None:
    del caller
    raise NotFound(
        Sentence(
            "retouch makes photos better and offers nothing else: send one to /v1/images/edits",
            "retouch 只改善照片，不提供其他功能：请将照片发送到 /v1/images/edits",
        )
    )


for _path in OTHER_APIS:
    router.add_api_route(
        f"/{_path}", refuse_other_api, methods=["GET", "POST"], include_in_schema=False
    )


def _private() -> dict[str, str]:
    return {"Cache-Control": "no-store"}
