"""Settles how much larger a job's result is, and by which enlarger, before any work is done.

Owns the limits of the deployment on a result's size. Knows nothing of how pictures are enlarged.
"""

from api.wire.sentence import Sentence
from shared.errors import ImageTooLarge, UpscalerNotFound, UpscalerUnusable
from shared.params import JobParams
from shared.settings import Settings
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.choice import AUTO
from shared.upscalers.entry import FILTER, UpscalerEntry
from shared.upscalers.factor import settle_factor, target_size


def settle_upscaler(params: JobParams, catalog: UpscalerCatalog) -> JobParams:
    """The same parameters, pinned to the file that a named enlarger is now.

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
    """The same parameters with a factor that suits the picture's width and height.

    Raises ImageTooLarge where the result would be larger than this deployment makes them.
    """
    settled = settle_factor(params, size)
    if settled.factor > 1:
        _check_limit(settled, size, settings.max_side)
        settle_upscaler(settled, catalog)
    return settled


def _check_limit(params: JobParams, size: tuple[int, int], limit: int) -> None:
    width, height = target_size(size, params)
    if max(width, height) <= limit:
        return
    passing = max(1, limit // max(size))
    raise ImageTooLarge(
        Sentence(
            f"{params.factor} times {size[0]}x{size[1]} is {width}x{height} pixels; the longest "
            f"side may be {limit} here: choose upscale={passing}, or give max_side={limit}",
            f"{size[0]}x{size[1]} 放大 {params.factor} 倍为 {width}x{height} 像素，"
            f"这里的长边上限是 {limit}：请选择 upscale={passing}，或给出 max_side={limit}",
        )
    )


def _resolve(catalog: UpscalerCatalog, name: str) -> UpscalerEntry:
    try:
        return catalog.resolve(name)
    except (UpscalerNotFound, UpscalerUnusable) as error:
        raise type(error)(Sentence(str(error), catalog.explain(name, "zh"))) from error


def _cannot(entry: UpscalerEntry, factor: int) -> UpscalerUnusable:
    return UpscalerUnusable(
        Sentence(
            f"'{entry.name}' does not enlarge; it cannot make a picture {factor} times as large",
            f"“{entry.name}”不放大图片，无法放大 {factor} 倍",
        )
    )
