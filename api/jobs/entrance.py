"""The steps that every request for a job takes, whichever API it uses.

Owns the order: capacity is checked before anything is read, fields before the picture is decoded,
the picture before the job is made. Does not know how fields and pictures are encoded in a request.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from anyio import to_thread
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.intake.accepted import Accepted
from api.intake.masks import AcceptedMask
from api.jobs.job_form import JobForm, read_job_form
from api.jobs.submission import Submitted
from api.services import Services
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.sentence import spoken
from shared.errors import (
    AnimatedImage,
    ImageTooLarge,
    ImageTruncated,
    InvalidImage,
    RetouchError,
    UnsupportedMediaType,
)
from shared.ledger.records import Idempotency
from shared.messages import Language, title
from shared.params import JobParams

T = TypeVar("T")
Fields = tuple[tuple[str, str], ...]
# What a picture is refused for; a mask is refused as a field, so that its sender knows which file.
OF_A_FILE = AnimatedImage, ImageTooLarge, ImageTruncated, InvalidImage, UnsupportedMediaType


@dataclass(frozen=True)
class Asked:
    """A job's checked fields, and the parameters that result from them."""

    form: JobForm
    params: JobParams


@asynccontextmanager
async def entering(services: Services, caller: Caller) -> AsyncIterator[None]:
    """Takes a place among the uploads, for a caller who may have another job.

    Raises QueueFull, StorageFull, ShareTaken, Overloaded, RateLimited, StoreUnavailable.
    """
    await services.capacity.check(caller)
    with services.uploads.take(caller.place):
        yield


async def ask(services: Services, fields: Fields, language: Language) -> Asked:
    """Checks these fields. Raises InvalidFields and the errors about LoRAs."""
    form = read_job_form(fields, has_file=True, settings=services.settings, language=language)
    params = await run_in_threadpool(services.submissions.settle, form, language)
    return Asked(form, params)


async def accept_picture(services: Services, caller: Caller, read: Callable[[], bytes]) -> Accepted:
    """Reads the picture's bytes by `read`, checks and stores them. Raises the errors about
    pictures.
    """
    return await decoding(services, lambda: stored_picture(services, caller, read))


async def decoding(services: Services, run: Callable[[], T]) -> T:
    """The value of a function that decodes pictures, in one of a few threads for this purpose
    alone: waiting uploads must not take the threads of all other requests.
    """
    return await to_thread.run_sync(run, limiter=services.decoding)


def stored_picture(services: Services, caller: Caller, read: Callable[[], bytes]) -> Accepted:
    """Like `accept_picture`, for a thread that may decode."""
    accepted = services.images.accept(read(), caller.name)
    if accepted.is_new:
        services.shares.keep(caller, accepted.source.size_bytes)
    return accepted


def stored_mask(
    services: Services,
    caller: Caller,
    read: Callable[[], bytes],
    language: Language,
    *,
    inverted: bool = False,
) -> AcceptedMask:
    """Reads the mask's bytes by `read`, checks and stores them, in a thread that may decode. Raises
    InvalidFields.
    """
    try:
        accepted = services.masks.accept(read(), inverted=inverted)
    except OF_A_FILE as error:
        raise InvalidFields([_of_mask(error, language)]) from error
    if accepted.is_new:
        services.shares.keep(caller, accepted.mask.size_bytes)
    return accepted


async def submit(
    services: Services,
    caller: Caller,
    asked: Asked,
    picture: Accepted,
    language: Language,
    key: str | None = None,
    mask: AcceptedMask | None = None,
) -> Submitted:
    """Makes the job of this picture, or returns the one that an equal request with the same key has
    made.
    """
    services.quality_gate.check(picture, asked.params.force)
    idempotency = None
    if key is not None:
        idempotency = Idempotency(key, asked.form.fingerprint(picture.source.image_id))
    most = services.shares.most_jobs(caller)
    return await run_in_threadpool(
        services.submissions.submit,
        asked.params,
        picture.source,
        caller,
        language,
        idempotency,
        most,
        mask,
    )


@asynccontextmanager
async def all_or_none(services: Services) -> AsyncIterator[list[str]]:
    """A list for the ids of one request's jobs: on an error, the jobs already made are canceled."""
    made: list[str] = []
    try:
        yield made
    except RetouchError:
        for job_id in made:
            await run_in_threadpool(services.store.cancel, job_id)
        raise


def _of_mask(error: RetouchError, language: Language) -> FieldProblem:
    said = spoken(error.args[0] if error.args else "", language) or title(error.code, language)
    said = said.rstrip(".。")
    detail = f"无法使用：{said}" if language == "zh" else f"cannot be used: {said}"
    return FieldProblem(pointer="/mask", detail=detail)
