"""JSON bodies that carry pictures: kept on the disk while they come in, read a few at a time.

Owns their limit, which is that of an upload written in base64.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.access.keys import Caller
from api.intake.json_body import checked_json
from api.intake.upload import received_large_json
from api.jobs.entrance import entering
from api.services import Services
from shared.messages import Language

Body = TypeVar("Body", bound=BaseModel)
OTHER_FIELDS_BYTES = 2**20


@asynccontextmanager
async def received_body(
    request: Request, services: Services, caller: Caller, model: type[Body], language: Language
) -> AsyncIterator[Body]:
    """The body as its model, for a caller who may have another job.

    Raises what `entering` raises, UnsupportedMediaType, PayloadTooLarge, MalformedRequest and
    InvalidFields.
    """
    most = services.settings.max_upload_bytes * 4 // 3 + OTHER_FIELDS_BYTES
    async with (
        entering(services, caller),
        received_large_json(request, most) as file,
        services.unpacking,
    ):
        yield await run_in_threadpool(lambda: checked_json(model, file.read(), language))
