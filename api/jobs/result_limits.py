"""Refuses a result beyond this deployment's limits before any work is done.

Owns the error message, which names the limit and the largest size that is accepted. A format that
does not support a side is no reason for a refusal: the worker uses another one and reports it.
"""

from api.wire.sentence import Sentence
from shared.errors import ImageTooLarge
from shared.params import JobParams
from shared.settings import Settings
from shared.sizes import Size, fitting, megapixels, result_size


def is_within(params: JobParams, size: Size, settings: Settings) -> bool:
    """Whether the result of a photo of this width and height exceeds no limit."""
    width, height = result_size(size, params)
    return width * height <= settings.max_result_pixels and max(width, height) <= settings.max_side


def check_result_size(params: JobParams, size: Size, settings: Settings) -> None:
    """Raises ImageTooLarge if the result of a photo of this width and height exceeds a limit."""
    if is_within(params, size, settings):
        return
    wanted, most = result_size(size, params), settings.max_result_pixels
    side = settings.max_side
    passing = fitting(wanted, most, side)
    longest, passing_text = max(passing), f"{passing[0]}x{passing[1]}"
    raise ImageTooLarge(
        Sentence(
            f"the result would be {wanted[0]}x{wanted[1]}, {megapixels(wanted):.1f} megapixels; at "
            f"most {most / 1e6:g}, and {side} pixels a side, are made here: "
            f"max_side={longest} gives {passing_text}",
            f"结果将为 {wanted[0]}x{wanted[1]}（{megapixels(wanted):.1f} 百万像素）；这里最多生成 "
            f"{most / 1e6:g} 百万像素，边长最多 {side} 像素："
            f"设 max_side={longest} 可得 {passing_text}",
        )
    )
