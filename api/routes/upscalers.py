"""The catalogue of enlargers, in the form that callers see."""

from fastapi import APIRouter

from api.access.guard import LanguageDep, Reader, ServicesDep
from api.wire.presenter import upscaler_view
from api.wire.problems import problems
from api.wire.schemas import UpscalerList

router = APIRouter(prefix="/v1/upscalers", tags=["upscalers"])


@router.get(
    "",
    operation_id="listUpscalers",
    summary="Every enlarger; unusable ones with the reason",
    responses=problems("unauthenticated", "forbidden", "rate_limited"),
)
def get_upscalers(services: ServicesDep, caller: Reader, language: LanguageDep) -> UpscalerList:
    del caller
    entries = services.upscalers.entries()
    return UpscalerList(items=[upscaler_view(entry, language) for entry in entries])
