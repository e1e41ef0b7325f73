"""The steps from a request to a job: capacity, form, picture, job.

Owns what runs on the event loop and what in threads. Nothing is read from a request that would be
refused anyway.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.intake.accepted import Accepted
from api.intake.masks import AcceptedMask
from api.intake.upload import FILE_FIELD, MASK_FIELD, Form, received_form
from api.jobs.entrance import accept_mask, accept_picture, entering
from api.jobs.fetching import NotFetched
from api.jobs.idempotency import RENEW_SECONDS, checked_key
from api.jobs.job_form import AUTO, JobForm, read_job_form
from api.jobs.submission import Submitted
from api.services import Services
from api.wire.errors import InvalidFields, language_of
from api.wire.problems import FieldProblem
from shared.ledger.records import Idempotency
from shared.messages import Language
from shared.params import AskedFormat
from shared.periodic import run_periodically

BOTH = FILE_FIELD, MASK_FIELD


async def receive_job(
    request: Request,
    services: Services,
    caller: Caller,
    default_lora: str = AUTO,
    default_format: AskedFormat = "auto",
) -> Submitted:
    """Returns the job for this request. Raises the errors of every step."""
    key, language = checked_key(request.headers.get("idempotency-key")), language_of(request)
    async with _alone(services, caller, key), _form(request, services, caller, BOTH) as form:
        asked = read_job_form(
            form.fields,
            has_file=form.file is not None,
            settings=services.settings,
            language=language,
            default_lora=default_lora,
            default_format=default_format,
        )
        return await _accept(services, caller, form, asked, key, language)


async def receive_image(request: Request, services: Services, caller: Caller) -> Accepted:
    """Receives an upload without a job, and returns the picture."""
    async with _form(request, services, caller) as form:
        problems = [
            FieldProblem(pointer=f"/{name[:100]}", detail="is not a field of this request")
            for name, _ in form.fields
        ]
        if form.file is None:
            problems.append(FieldProblem(pointer=f"/{FILE_FIELD}", detail="is missing"))
        if problems:
            raise InvalidFields(problems)
        return await _decoded(services, caller, form)


async def _accept(
    services: Services,
    caller: Caller,
    form: Form,
    asked: JobForm,
    key: str | None,
    language: Language,
) -> Submitted:
    idempotency = None
    if key:
        idempotency = await run_in_threadpool(_idempotency, key, form, asked)
        earlier = await run_in_threadpool(services.store.find_replay, caller.name, idempotency)
        if earlier is not None:
            return Submitted(earlier, replayed=True)
    params = await run_in_threadpool(services.submissions.settle, asked, language)
    picture = await _picture(services, caller, form, asked, language)
    services.quality_gate.check(picture, params.force)
    mask = await _mask(services, caller, form, language)
    return await run_in_threadpool(
        services.submissions.submit,
        params,
        picture.source,
        caller,
        language,
        idempotency,
        services.shares.most_jobs(caller),
        mask,
    )


async def _picture(
    services: Services, caller: Caller, form: Form, asked: JobForm, language: Language
) -> Accepted:
    if asked.image_id is not None:
        return await run_in_threadpool(services.images.find, asked.image_id, caller.name)
    if asked.image_url is not None:
        data = await _fetched(services, asked.image_url, language)
        return await accept_picture(services, caller, lambda: data)
    return await _decoded(services, caller, form)


async def _fetched(services: Services, url: str, language: Language) -> bytes:
    try:
        return await services.fetcher.fetch(url)
    except NotFetched as error:
        detail = error.reason.zh if language == "zh" else str(error.reason)
        raise InvalidFields([FieldProblem(pointer="/image_url", detail=detail)]) from error


async def _mask(
    services: Services, caller: Caller, form: Form, language: Language
) -> AcceptedMask | None:
    if form.mask is None:
        return None
    return await accept_mask(services, caller, form.read_mask, language)


async def _decoded(services: Services, caller: Caller, form: Form) -> Accepted:
    return await accept_picture(services, caller, form.read_file)


@asynccontextmanager
async def _form(
    request: Request, services: Services, caller: Caller, names: tuple[str, ...] = (FILE_FIELD,)
) -> AsyncIterator[Form]:
    async with (
        entering(services, caller),
        received_form(request, services.settings.max_upload_bytes, names) as form,
    ):
        yield form


@asynccontextmanager
async def _alone(services: Services, caller: Caller, key: str | None) -> AsyncIterator[None]:
    if key is None:
        yield
        return
    lock = await run_in_threadpool(services.gate.enter, caller.name, key)

    async def renew() -> None:
        await run_in_threadpool(services.gate.renew, lock)

    renewing = asyncio.create_task(run_periodically("idempotency", renew, RENEW_SECONDS))
    try:
        yield
    finally:
        renewing.cancel()
        await run_in_threadpool(services.gate.leave, lock)


def _idempotency(key: str, form: Form, asked: JobForm) -> Idempotency:
    return Idempotency(key, asked.fingerprint(form.files_sha256()))
