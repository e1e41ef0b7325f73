"""The bodies of `extra-single-image` and `extra-batch-images`: pictures to be enlarged.

Owns their meaning here: the named enlarger, and as little other processing as a job can have.
"""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.faces.fitting import LARGEST_SIDE, Fit, Size, Wanted, size_fields
from api.faces.sdapi.form import MOST_PICTURES
from api.faces.sdapi.lists import upscaler_named
from api.jobs.entrance import Fields
from api.services import Services

# The photo's own pixels, changed by the base as little as possible.
FAITHFUL: Fields = (("lora", "none"), ("strength", "0.05"), ("steps", "1"), ("preview", "false"))


def _given(value: object) -> object:
    return None if value in (None, "", -1, "-1") else value


Side = Annotated[Annotated[int, Field(ge=1, le=LARGEST_SIDE)] | None, BeforeValidator(_given)]
Factor = Annotated[
    Annotated[float, Field(gt=0, le=8, allow_inf_nan=False)] | None, BeforeValidator(_given)
]


class Extras(BaseModel):
    """How pictures are enlarged: by a factor, or (`resize_mode` 1) to a size."""

    model_config = ConfigDict(frozen=True, extra="allow")

    resize_mode: Annotated[Literal[0, 1] | None, BeforeValidator(_given)] = None
    upscaling_resize: Factor = None
    upscaling_resize_w: Side = None
    upscaling_resize_h: Side = None
    upscaling_crop: bool | None = None
    upscaler_1: str | None = None
    upscaler_2: str | None = None
    gfpgan_visibility: float | None = None
    codeformer_visibility: float | None = None

    def wanted(self, source: Size) -> Wanted:
        """The size that a picture of this size should get."""
        if self.resize_mode == 1:
            to = self.upscaling_resize_w or 512, self.upscaling_resize_h or 512
            fit: Fit = "within" if self.upscaling_crop is False else "crop"
            return Wanted(to, fit)
        factor = 2.0 if self.upscaling_resize is None else self.upscaling_resize
        return Wanted((_side(source[0], factor), _side(source[1], factor)), "stretch")

    def job_fields(self, source: Size, services: Services) -> Fields:
        """The fields of one picture's job. An unknown upscaler is refused when the job is
        submitted.
        """
        upscaler = upscaler_named(services, self.upscaler_1)
        if upscaler is None:
            return (*FAITHFUL, ("upscale", "1"))
        sized = size_fields(self.wanted(source), source, services.settings.max_side)
        return (*FAITHFUL, *sized, ("upscaler", upscaler))

    def result_size(self, source: Size) -> Wanted | None:
        """The exact size of the answer; None without an upscaler, as in AUTOMATIC1111."""
        return None if self.upscaler_1 in (None, "", "None") else self.wanted(source)

    def without_effect(self) -> list[str]:
        sent = {
            "upscaler_2": self.upscaler_2 not in (None, "", "None"),
            "gfpgan_visibility": bool(self.gfpgan_visibility),
            "codeformer_visibility": bool(self.codeformer_visibility),
        }
        return [name for name, is_sent in sent.items() if is_sent]


class SingleExtras(Extras):
    """One picture."""

    image: Annotated[str, Field(min_length=1)]

    @property
    def pictures(self) -> list[str]:
        return [self.image]

    @staticmethod
    def answer(images: list[str]) -> dict[str, object]:
        """The field with the enlarged picture; a canceled job has none."""
        return {"image": images[0] if images else ""}


class NamedPicture(BaseModel):
    """A picture of a batch; only the client uses its name."""

    data: Annotated[str, Field(min_length=1)]
    name: str | None = None


class BatchExtras(Extras):
    """Several pictures."""

    imageList: Annotated[list[NamedPicture], Field(min_length=1, max_length=MOST_PICTURES)]

    @property
    def pictures(self) -> list[str]:
        return [item.data for item in self.imageList]

    @staticmethod
    def answer(images: list[str]) -> dict[str, object]:
        """The field with the enlarged pictures."""
        return {"images": images}


def _side(source: int, factor: float) -> int:
    return min(LARGEST_SIDE, max(1, math.floor(source * factor)))
