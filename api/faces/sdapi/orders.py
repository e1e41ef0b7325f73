"""From a body with pictures to jobs: one for each picture and each repeat.

Owns their order, and the exact size of each result.
"""

from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.faces.fitting import Wanted
from api.faces.sdapi.body import received_body
from api.faces.sdapi.extras_form import BatchExtras, SingleExtras
from api.faces.sdapi.form import Img2Img, job_fields, seed_fields, sized_fields
from api.faces.sdapi.options import Options, changed_options, option_fields, options_of
from api.faces.sdapi.pictures import reader_of
from api.intake.masks import AcceptedMask
from api.jobs.entrance import accept_picture, all_or_none, ask, decoding, stored_mask, submit
from api.services import Services
from shared.messages import Language


@dataclass(frozen=True)
class Order:
    """The jobs of one request in the order of its answer, each with its exact result size, and the
    fields without effect.
    """

    job_ids: list[str]
    wanted: list[Wanted | None]
    ignored: list[str]


async def img2img_order(
    request: Request, services: Services, caller: Caller, language: Language
) -> tuple[Img2Img, Order]:
    """Makes the jobs of img2img. Raises the errors of every step; then no job remains."""
    options = await run_in_threadpool(options_of, request, services, caller)
    async with (
        received_body(request, services, caller, Img2Img, language) as asked,
        all_or_none(services) as job_ids,
    ):
        asked.refuse_undone(language)
        options = changed_options(options, asked.override_settings or {}, services, language)
        shared = (*option_fields(options, services), *job_fields(asked))
        await ask(services, shared, language)
        mask = await _mask(asked, services, caller, language)
        wanted: list[Wanted | None] = []
        for text in asked.init_images:
            picture = await accept_picture(services, caller, reader_of(text))
            source = picture.source.width, picture.source.height
            sized = sized_fields(asked, source, services)
            for _ in range(asked.repeats):
                fields = (*shared, *sized, *seed_fields(asked, len(job_ids)))
                form = await ask(services, fields, language)
                made = await submit(services, caller, form, picture, language, mask=mask)
                job_ids.append(made.job_id)
                wanted.append(asked.wanted)
        without = [*asked.without_effect(), *_ignored(asked)]
        return asked.model_copy(update=_let_go(asked)), Order(job_ids, wanted, without)


async def extras_order(
    request: Request,
    services: Services,
    caller: Caller,
    language: Language,
    model: type[SingleExtras] | type[BatchExtras],
) -> Order:
    """Makes the jobs of the extras. Raises the errors of every step; then no job remains."""
    async with (
        received_body(request, services, caller, model, language) as asked,
        all_or_none(services) as job_ids,
    ):
        await ask(services, asked.job_fields((64, 64), services), language)
        wanted: list[Wanted | None] = []
        for text in asked.pictures:
            picture = await accept_picture(services, caller, reader_of(text))
            source = picture.source.width, picture.source.height
            form = await ask(services, asked.job_fields(source, services), language)
            job_ids.append((await submit(services, caller, form, picture, language)).job_id)
            wanted.append(asked.result_size(source))
        return Order(job_ids, wanted, asked.without_effect())


async def _mask(
    asked: Img2Img, services: Services, caller: Caller, language: Language
) -> AcceptedMask | None:
    if not asked.mask:
        return None
    read, inverted = reader_of(asked.mask), bool(asked.inpainting_mask_invert)
    return await decoding(
        services, lambda: stored_mask(services, caller, read, language, inverted=inverted)
    )


def _let_go(asked: Img2Img) -> dict[str, object]:
    """Drops pictures from memory while their jobs run, except those to be echoed."""
    return {"mask": None} | ({} if asked.include_init_images else {"init_images": []})


def _ignored(asked: Img2Img) -> list[str]:
    sent = set(asked.override_settings or {}) - set(Options.model_fields)
    return [f"override_settings.{name[:60]}" for name in sorted(sent)]
