"""The steps from a request to a job: capacity, form, picture, job.

Owns what runs on the event loop and what in threads. Nothing is read from a request that would be
refused anyway.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.intake.accepted import Accepted
from api.intake.masks import AcceptedMask
from api.intake.upload import FILE_FIELD, MASK_FIELD, Form, received_form
from api.jobs.entrance import accept_picture, decoding, entering, stored_mask, stored_picture
from api.jobs.fetching import NotFetched
from api.jobs.idempotency import RENEW_SECONDS, checked_key
from api.jobs.job_form import AUTO, JobForm, read_job_form
from api.jobs.submission import Submitted
from api.services import Services
from api.wire.errors import InvalidFields, language_of
from api.wire.problems import FieldProblem
from shared.ledger.records import Idempotency
from shared.messages import Language
from shared.params import AskedFormat, JobParams
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
        return await accept_picture(services, caller, form.read_file)


async def _accept(
    services: Services,
    caller: Caller,
    form: Form,
    asked: JobForm,
    key: str | None,
    language: Language,
) -> Submitted:
    last_steps = _LastSteps(services, caller, form, asked, key, language)
    if asked.image_url is None:
        # In one thread: each change of threads costs as much as a step.
        decodes = asked.image_id is None or form.mask is not None
        run = partial(decoding, services) if decodes else run_in_threadpool
        return await run(lambda: last_steps.from_settling_on(form.read_file))
    settled = await run_in_threadpool(last_steps.settled)
    if isinstance(settled, Submitted):
        return settled
    data = await _fetched(services, asked.image_url, language)
    return await decoding(services, lambda: last_steps.submitted(settled, lambda: data))


async def _fetched(services: Services, url: str, language: Language) -> bytes:
    try:
        return await services.fetcher.fetch(url)
    except NotFetched as error:
        detail = error.reason.zh if language == "zh" else str(error.reason)
        raise InvalidFields([FieldProblem(pointer="/image_url", detail=detail)]) from error


@dataclass
class _LastSteps:
    """What remains of a request whose form has been read: parameters, picture, mask, job. Called
    from a thread that may decode.
    """

    services: Services
    caller: Caller
    form: Form
    asked: JobForm
    key: str | None
    language: Language
    idempotency: Idempotency | None = None

    def from_settling_on(self, read: Callable[[], bytes]) -> Submitted:
        settled = self.settled()
        return settled if isinstance(settled, Submitted) else self.submitted(settled, read)

    def settled(self) -> JobParams | Submitted:
        """The parameters, or the job that an earlier equal request made."""
        if self.key:
            known = Idempotency(self.key, self.asked.fingerprint(self.form.files_sha256()))
            earlier = self.services.store.find_replay(self.caller.name, known)
            if earlier is not None:
                return Submitted(earlier, replayed=True)
            self.idempotency = known
        return self.services.submissions.settle(self.asked, self.language)

    def submitted(self, params: JobParams, read: Callable[[], bytes]) -> Submitted:
        """The job of the picture that `read` returns, or of an earlier upload."""
        services, caller = self.services, self.caller
        if self.asked.image_id is not None:
            picture = services.images.find(self.asked.image_id, caller.name)
        else:
            picture = stored_picture(services, caller, read)
        services.quality_gate.check(picture, params.force)
        return services.submissions.submit(
            params,
            picture.source,
            caller,
            self.language,
            self.idempotency,
            services.shares.most_jobs(caller),
            self._mask(),
        )

    def _mask(self) -> AcceptedMask | None:
        if self.form.mask is None:
            return None
        return stored_mask(self.services, self.caller, self.form.read_mask, self.language)


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
