"""Settles how much larger a job's result is, and by which enlarger, before any work is done.

Does not know how pictures are enlarged.
"""

from api.jobs.result_limits import check_result_size, is_within
from api.wire.sentence import Sentence
from shared.errors import UpscalerNotFound, UpscalerUnusable
from shared.params import JobParams
from shared.settings import Settings
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import AUTO
from shared.upscalers.entry import FILTER, UpscalerEntry
from shared.upscalers.factor import settle_factor


def settle_upscaler(params: JobParams, catalog: UpscalerCatalog) -> JobParams:
    """Returns the parameters with a named enlarger pinned to its current file.

    Raises UpscalerNotFound, UpscalerUnusable.
    """
    if params.upscaler in (AUTO, FILTER):
        return params
    entry = _resolve(catalog, params.upscaler)
    if params.upscale not in (AUTO, 1) and not entry.serves(params.factor):
        raise _cannot(entry, params.factor)
    return params.model_copy(update={"upscaler_sha256": entry.sha256})


def settle_size(
    params: JobParams, size: tuple[int, int], settings: Settings, catalog: UpscalerCatalog
) -> JobParams:
    """Returns the parameters with a factor that suits the picture's width and height.

    Raises ImageTooLarge if the result would exceed this deployment's limit.
    """

    def is_allowed(factor: int) -> bool:
        return is_within(params.model_copy(update={"upscale": factor}), size, settings)

    settled = settle_factor(params, size, is_allowed)
    check_result_size(settled, size, settings)
    if settled.factor > 1:
        settle_upscaler(settled, catalog)
    return settled


def _resolve(catalog: UpscalerCatalog, name: str) -> UpscalerEntry:
    try:
        return catalog.resolve(name)
    except (UpscalerNotFound, UpscalerUnusable) as error:
        raise type(error)(Sentence(str(error), catalog.explain(name, "zh"))) from error


def _cannot(entry: UpscalerEntry, factor: int) -> UpscalerUnusable:
    return UpscalerUnusable(
        Sentence(
            f"'{entry.name}' does not enlarge and cannot make a picture {factor} times as large",
            f"“{entry.name}”不放大图片，无法放大 {factor} 倍",
        )
    )
