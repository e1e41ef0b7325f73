"""Finished jobs in the format that OpenAI's clients expect: `created`, `data`, `size` and the rest.

Owns the addresses of `response_format=url`: they are valid for an hour, and give the picture to
anyone who has one.
"""

import base64
import json
import secrets
import time
from hashlib import sha256
from typing import Any

from fastapi import Request

from api.faces.fitting import Wanted, fitted, size_of
from api.faces.openai.orders import Order
from api.services import Services
from api.wire.addresses import absolute, address
from api.wire.sentence import Sentence
from shared.errors import ImageNotFound, ResultExpired
from shared.jobs import Job
from shared.params import MEDIA_TYPES

URL_SECONDS = 3600
# The protocol counts tokens; this service has none.
USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


def images_response(
    request: Request, services: Services, order: Order, jobs: list[Job]
) -> dict[str, Any]:
    """The answer of `edits` and `variations`. Call from a thread. Raises ImageNotFound."""
    form, data, size = order.read.form, [], (0, 0)
    for job in jobs:
        picture = picture_of(services, job, form.wanted)
        size = size_of(picture)
        if form.response_format == "url":
            data.append({"url": _address(request, services, job, form.wanted)})
        else:
            data.append({"b64_json": base64.b64encode(picture).decode()})
    answer = {"created": int(time.time()), "data": data, "usage": USAGE, **looks(order, size)}
    return answer | ({"ignored": order.read.ignored} if order.read.ignored else {})


def looks(order: Order, size: tuple[int, int]) -> dict[str, Any]:
    """The properties of a picture in answers and events."""
    form = order.read.form
    return {
        "background": "transparent" if form.background == "transparent" else "opaque",
        "output_format": form.output_format,
        "quality": form.quality,
        "size": f"{size[0]}x{size[1]}",
    }


def picture_of(services: Services, job: Job, wanted: Wanted | None) -> bytes:
    """A job's picture at the wanted size. Call from a thread. Raises ImageNotFound."""
    if job.result is None:
        raise ImageNotFound(
            Sentence(f"the job {job.state}, so it has no picture", "任务没有完成，因此没有图片")
        )
    data = services.blobs.get(job.result.blob)
    if wanted is None:
        return data
    return fitted(data, wanted, job.result.format, job.params.quality)


def addressed_picture(services: Services, token: str) -> tuple[bytes, str]:
    """The picture at such an address, and its media type. Raises ResultExpired."""
    known = services.notes.read(_note(token))
    if known is None:
        raise ResultExpired()
    facts = json.loads(known)
    job = services.store.get(facts["job"])
    wanted = Wanted(tuple(facts["size"]), "within") if facts["size"] else None
    assert job.result is not None
    return picture_of(services, job, wanted), MEDIA_TYPES[job.result.format]


def _address(request: Request, services: Services, job: Job, wanted: Wanted | None) -> str:
    token = secrets.token_urlsafe(24)
    facts = {"job": job.id, "size": wanted.size if wanted else None}
    services.notes.write(_note(token), json.dumps(facts), URL_SECONDS)
    return absolute(request, address(f"/v1/images/results/{token}"))


def _note(token: str) -> str:
    return f"address:{sha256(token.encode('utf-8', 'replace')).hexdigest()}"
