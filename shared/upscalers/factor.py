"""The factor of a result: settles `auto` from the photo's size, and gives the reason.

Owns the sizes. choice.py decides which enlarger is used.
"""

from collections.abc import Callable

from shared.params import JobParams

# A photo of this length needs no enlarging; for a smaller one, the smallest factor that reaches it.
LONG_ENOUGH = 1024
FACTORS = (2, 4)
_WORDS = {
    "large": (
        "The photo's long side is {side} pixels, {enough} or more: it keeps its size.",
        "照片长边为 {side} 像素，不小于 {enough}，保持原尺寸。",
    ),
    "capped": (
        "max_side asks for {cap} pixels, no more than the photo's {side}: it is not enlarged.",
        "max_side 要求 {cap} 像素，不超过照片的 {side} 像素，因此不放大。",
    ),
    "small": (
        "The photo's long side is {side} pixels; {factor} times makes {larger}.",
        "照片长边为 {side} 像素，放大 {factor} 倍为 {larger} 像素。",
    ),
    "limited": (
        "A larger result would exceed this service's limits: {factor} times makes {larger} pixels.",
        "更大的结果会超出此服务的限制：放大 {factor} 倍为 {larger} 像素。",
    ),
    "full": (
        "A larger result would exceed this service's limits: the photo keeps its size.",
        "更大的结果会超出此服务的限制，因此照片保持原尺寸。",
    ),
}


def settle_factor(
    params: JobParams, size: tuple[int, int], is_allowed: Callable[[int], bool] = lambda _: True
) -> JobParams:
    """The parameters with a number instead of `auto`, from the photo's width and height.

    Of the factors above 1, `is_allowed` may refuse those that are too much for this service.
    """
    if params.upscale != "auto":
        return params
    side = max(size)
    wanted, why = _factor(side, params.max_side)
    factor = _most(wanted, is_allowed)
    if factor < wanted:
        why = "limited" if factor > 1 else "full"
    facts = {"side": side, "enough": LONG_ENOUGH, "cap": params.max_side or 0}
    facts |= {"factor": factor, "larger": side * factor}
    told = {name: f"{number:,}" for name, number in facts.items()}
    english, chinese = (words.format_map(told) for words in _WORDS[why])
    said = {"upscale_reason": english, "upscale_reason_zh": chinese}
    return params.model_copy(update={"upscale": factor, **said})


def _factor(side: int, max_side: int | None) -> tuple[int, str]:
    if side >= LONG_ENOUGH:
        return 1, "large"
    if max_side is not None and max_side <= side:
        return 1, "capped"
    reaching = (factor for factor in FACTORS if side * factor >= LONG_ENOUGH)
    return next(reaching, FACTORS[-1]), "small"


def _most(wanted: int, is_allowed: Callable[[int], bool]) -> int:
    smaller = (factor for factor in reversed(FACTORS) if factor <= wanted and is_allowed(factor))
    return next(smaller, 1)
