"""From a form with pictures to jobs: one for each picture and each of `n`.

Owns their number, seeds and sizes, and the rule that either all of them are submitted or none.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.access.keys import Caller
from api.faces.fitting import size_fields
from api.faces.openai.errors import ModelNotFound
from api.faces.openai.form import MOST_IMAGES, ReadForm, read_form
from api.faces.openai.models import base_of, lora_of, no_model
from api.faces.openai.retries import Tries, tries_of
from api.intake.accepted import Accepted
from api.intake.upload import CHUNK_BYTES, Parts, received_parts
from api.jobs.entrance import Fields, accept_picture, all_or_none, ask, entering, submit
from api.jobs.submission import Submitted
from api.services import Services
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from shared.errors import LoraNotFound
from shared.jobs import JobState
from shared.messages import Language

MOST_TRIES = 8
FILES = ("image", "image[]")
REFUSED = {
    "mask": (
        "is not supported here: retouch paints nothing new into a hole; to enhance a part of the "
        "photo only, send it to /v1/jobs with a mask that is white there",
        "此接口不支持：retouch 不会在空缺处生成新内容；若只想改善照片的一部分，请将照片连同"
        "该处为白色的蒙版发送到 /v1/jobs",
    ),
    "markup": (
        "is not supported: retouch does not follow drawn marks",
        "不支持：retouch 不识别涂画标记",
    ),
}


@dataclass(frozen=True)
class Order:
    """What was requested, and its jobs in the order of the answer."""

    read: ReadForm
    job_ids: list[str]
    tries: Tries


async def receive_order(
    request: Request, services: Services, caller: Caller, language: Language
) -> Order:
    """Makes all jobs of the request. Raises the errors of every step; then no job remains."""
    most = services.settings.max_upload_bytes
    async with (
        entering(services, caller),
        received_parts(request, most, MOST_IMAGES + len(REFUSED)) as parts,
    ):
        read = read_form(parts.fields, language)
        files = _pictures(parts, read, language)
        lora = await run_in_threadpool(lora_of, services, read.form.model)
        base = await run_in_threadpool(_base_fields, services, read)
        await _check(services, read, lora, base, language)
        tries = await tries_of(request, services, caller, await run_in_threadpool(_digest, parts))
        async with all_or_none(services) as job_ids:
            for file in files:
                picture = await accept_picture(services, caller, _reader(file))
                for _ in range(read.form.n):
                    place = len(job_ids)
                    fields = read.fields(lora, place) + base + _sized(read, picture, services)
                    asked = await ask(services, fields, language)
                    for again in range(MOST_TRIES):
                        key = tries.of(place, again)
                        made = await submit(services, caller, asked, picture, language, key)
                        if not await _was_in_vain(services, made, tries):
                            break
                    job_ids.append(made.job_id)
    return Order(read, job_ids, tries)


def _base_fields(services: Services, read: ReadForm) -> Fields:
    base = base_of(services, read.form.model)
    return () if base is None else (("base", base),)


async def _check(
    services: Services, read: ReadForm, lora: str, base: Fields, language: Language
) -> None:
    """Refuses impossible requests before a picture is decoded, with this API's parameter names."""
    try:
        await ask(services, read.fields(lora, 0) + base, language)
    except LoraNotFound as error:
        raise ModelNotFound(*error.args) from error
    except InvalidFields as error:
        if any(problem.pointer.startswith("/lora") for problem in error.problems):
            raise no_model(read.form.model or lora) from error
        raise


def _sized(read: ReadForm, picture: Accepted, services: Services) -> tuple[tuple[str, str], ...]:
    given = {name for name, _ in read.own}
    if read.form.wanted is None:
        return ()
    source = picture.source.width, picture.source.height
    fields = size_fields(read.form.wanted, source, services.settings.max_side)
    return tuple(pair for pair in fields if pair[0] not in given)


async def _was_in_vain(services: Services, made: Submitted, tries: Tries) -> bool:
    """Whether the job of an earlier attempt has ended without a picture."""
    if not made.replayed or not tries.may_begin_anew:
        return False
    job = await run_in_threadpool(services.store.get, made.job_id)
    return job.state in (JobState.FAILED, JobState.CANCELED)


def _pictures(parts: Parts, read: ReadForm, language: Language) -> list[UploadFile]:
    problems = []
    for name, _ in parts.files:
        if name in REFUSED:
            problems.append(_problem(name, REFUSED[name], language))
        elif name not in FILES:
            problems.append(_problem(name, ("must not be a file", "不能是文件"), language))
    files = [file for name, file in parts.files if name in FILES]
    if not files:
        problems.append(_problem("image", ("is missing: send a picture", "缺少图片"), language))
    if len(files) * read.form.n > MOST_IMAGES:
        said = (
            f"times the number of images is more than {MOST_IMAGES}",
            f"与图片数量的乘积超过 {MOST_IMAGES}",
        )
        problems.append(_problem("n", said, language))
    if problems:
        raise InvalidFields(problems)
    return files


def _problem(name: str, said: tuple[str, str], language: Language) -> FieldProblem:
    return FieldProblem(pointer=f"/{name[:100]}", detail=said[language == "zh"])


def _reader(file: UploadFile) -> Callable[[], bytes]:
    def read() -> bytes:
        file.file.seek(0)
        return file.file.read()

    return read


def _digest(parts: Parts) -> str:
    digest = hashlib.sha256(repr(sorted(parts.fields)).encode())
    for _, file in parts.files:
        file.file.seek(0)
        while chunk := file.file.read(CHUNK_BYTES):
            digest.update(chunk)
        digest.update(b"\0")
    return digest.hexdigest()
