"""The catalogue of LoRAs, in the form that callers see."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.access.guard import LanguageDep, Reader, ServicesDep
from api.server.caching import ASK_AGAIN, cached_response
from api.server.packed_route import PackedRoute
from api.services import Services
from api.wire.presenter import lora_view
from api.wire.problems import problems
from api.wire.schemas import LoraList, LoraView
from api.wire.sentence import Sentence
from shared.errors import ImageNotFound, LoraNotFound
from shared.loras.entry import LoraEntry
from shared.messages import Language

SAMPLE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"} | {
    ".webp": "image/webp"
}
CALLER_PROBLEMS = ("unauthenticated", "forbidden", "rate_limited")

router = APIRouter(prefix="/v1/loras", tags=["loras"], route_class=PackedRoute)


@router.get(
    "",
    operation_id="listLoras",
    summary="Every LoRA; unusable ones with the reason",
    responses=problems(*CALLER_PROBLEMS),
)
def get_loras(services: ServicesDep, caller: Reader, language: LanguageDep) -> LoraList:
    del caller
    entries = services.catalog.entries()
    return LoraList(items=[_view(entry, services, language) for entry in entries])


@router.get(
    "/{name:path}/sample",
    operation_id="getLoraSample",
    summary="A picture that shows the effect of a LoRA",
    response_class=Response,
    responses=problems(*CALLER_PROBLEMS, "lora_not_found", "image_not_found"),
)
def get_sample(name: str, request: Request, services: ServicesDep, caller: Reader) -> Response:
    del caller
    entry = _find(services, name)
    path = _sample_path(entry)
    headers = {"Cache-Control": ASK_AGAIN}
    media_type = SAMPLE_TYPES[path.suffix.lower()]
    return cached_response(request, path.read_bytes(), f"{entry.sha256[:32]}", media_type, headers)


@router.get(
    "/{name:path}",
    operation_id="getLora",
    summary="One LoRA, by its full name or without the base's tag",
    responses=problems(*CALLER_PROBLEMS, "lora_not_found"),
)
def get_lora(name: str, services: ServicesDep, caller: Reader, language: LanguageDep) -> LoraView:
    del caller
    return _view(_find(services, name), services, language)


def _view(entry: LoraEntry, services: Services, language: Language) -> LoraView:
    return lora_view(entry, services.roster.serving_quietly(entry.base), language)


def _find(services: Services, name: str) -> LoraEntry:
    entry = services.catalog.find(name)
    if entry is None:
        raise LoraNotFound(Sentence("there is no LoRA with that name", "没有这个名字的 LoRA"))
    return entry


def _sample_path(entry: LoraEntry) -> Path:
    # The catalogue saw a plain file there; if it is a link by now, it is refused.
    path = entry.sample_path
    if path is None or path.is_symlink() or path.suffix.lower() not in SAMPLE_TYPES:
        raise ImageNotFound("this LoRA has no sample")
    if not path.is_file():
        raise ImageNotFound("this LoRA has no sample")
    return path
