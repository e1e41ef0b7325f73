"""The body of `img2img`, checked and converted to the fields of jobs.

Owns the meaning of each field. Clients send null and -1 for "as you like", and dozens of fields of
extensions: those are accepted, and the answer's `info` lists those without effect.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.faces.fitting import LARGEST_SIDE, Fit, Size, Wanted, size_fields
from api.faces.sdapi.lists import SAMPLERS, sampler_named
from api.jobs.entrance import Fields
from api.services import Services
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from shared.messages import Language

MOST_PICTURES = 16
MOST_STEPS = 50
MOST_GUIDANCE = 20.0
LEAST_STRENGTH = 0.05
FITS: tuple[Fit, ...] = ("stretch", "crop", "fill", "stretch")
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
# How AUTOMATIC1111 uses a mask; here the edge has its own feather and the photo lies under it.
OF_A_MASK: dict[str, tuple[Any, ...]] = {
    "mask_blur": (None, 4),
    "mask_blur_x": (None, 4),
    "mask_blur_y": (None, 4),
    "inpainting_fill": (None, 1),
    "inpaint_full_res": (None, False, 0),
}
# Fields that would change the picture in AUTOMATIC1111 with the value sent, but do not here.
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "restore_faces": (None, False),
    "tiling": (None, False),
    "subseed_strength": (None, 0, 0.0),
    "styles": (None, []),
    "refiner_checkpoint": (None, ""),
    "save_images": (None, False),
}


def _given(value: object) -> object:
    return None if value in (None, "", -1, "-1") else value


Steps = Annotated[Annotated[int, Field(ge=1, le=1000)] | None, BeforeValidator(_given)]
Count = Annotated[Annotated[int, Field(ge=1, le=MOST_PICTURES)] | None, BeforeValidator(_given)]
Side = Annotated[Annotated[int, Field(ge=16, le=LARGEST_SIDE)] | None, BeforeValidator(_given)]
Share = Annotated[
    Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, BeforeValidator(_given)
]
Guidance = Annotated[Annotated[float, Field(ge=0, le=100)] | None, BeforeValidator(_given)]
Seed = Annotated[Annotated[int, Field(ge=0, le=2**63)] | None, BeforeValidator(_given)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_PICTURES)]
# PHP's clients write an empty object as an empty list.
Object = Annotated[
    dict[str, Any] | None, BeforeValidator(lambda value: None if value in ("", []) else value)
]
Switch = Annotated[bool | None, BeforeValidator(_given)]


class Img2Img(BaseModel):
    """The contents of a body. Unknown fields are kept, to be echoed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    init_images: Texts
    prompt: str | None = None
    negative_prompt: str | None = None
    denoising_strength: Share = None
    steps: Steps = None
    cfg_scale: Guidance = None
    width: Side = None
    height: Side = None
    resize_mode: Annotated[Literal[0, 1, 2, 3] | None, BeforeValidator(_given)] = None
    seed: Seed = None
    batch_size: Count = None
    n_iter: Count = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    send_images: Switch = None
    save_images: Switch = None
    include_init_images: Switch = None
    mask: str | None = None
    inpainting_mask_invert: Annotated[Literal[0, 1] | None, BeforeValidator(_given)] = None
    script_name: str | None = None
    alwayson_scripts: Object = None
    override_settings: Object = None
    force_task_id: Annotated[str, Field(max_length=200)] | None = None

    @property
    def repeats(self) -> int:
        """Number of results for each picture."""
        return (self.batch_size or 1) * (self.n_iter or 1)

    @property
    def sampler(self) -> str:
        """The client's name for it; older clients use the second field."""
        return self.sampler_name or self.sampler_index or ""

    @property
    def wanted(self) -> Wanted | None:
        """The results' size; a single side keeps the picture's shape, no side keeps its size."""
        if self.width is None and self.height is None:
            return None
        if self.width is None or self.height is None:
            most = self.width or LARGEST_SIDE, self.height or LARGEST_SIDE
            return Wanted(most, "within")
        return Wanted((self.width, self.height), FITS[self.resize_mode or 0])

    def echoed(self) -> dict[str, Any]:
        """The body without its pictures, as AUTOMATIC1111 returns it."""
        left_out = {} if self.include_init_images else {"init_images": None}
        return self.model_dump(mode="json") | {"mask": None} | left_out

    def without_effect(self) -> list[str]:
        """Fields that were sent to change something, but have no effect here."""
        sent = self.model_dump(include=set(WITHOUT_EFFECT)) | (self.model_extra or {})
        known = WITHOUT_EFFECT | (OF_A_MASK if self.mask else {})
        idle = [name for name, off in known.items() if name in sent and sent[name] not in off]
        is_usual = self.sampler.lower() in ("", *(label.lower() for label in SAMPLERS.values()))
        return idle if is_usual else [*idle, "sampler_name"]

    def refuse_undone(self, language: Language) -> None:
        """Raises InvalidFields for options whose absence would make a different picture."""
        undone = {
            "script_name": (self.script_name, "names a script, and there are none", "不支持脚本"),
            "alwayson_scripts": (
                _used(self.alwayson_scripts),
                "names scripts, and there are none",
                "不支持脚本",
            ),
        }
        problems = [
            FieldProblem(pointer=f"/{name}", detail=zh if language == "zh" else en)
            for name, (sent, en, zh) in undone.items()
            if sent
        ]
        if len(self.init_images) * self.repeats > MOST_PICTURES:
            en = f"times n_iter and init_images is more than {MOST_PICTURES} pictures"
            zh = f"与 n_iter、init_images 的乘积超过 {MOST_PICTURES} 张"
            detail = zh if language == "zh" else en
            problems.append(FieldProblem(pointer="/batch_size", detail=detail))
        if problems:
            raise InvalidFields(problems)


def _used(scripts: dict[str, Any] | None) -> list[str]:
    """Scripts with arguments; clients send those of absent extensions with the extension switched
    off.
    """
    off: tuple[Any, ...] = (None, {}, [], [False])
    return [
        name
        for name, given in (scripts or {}).items()
        if (given.get("args") if isinstance(given, dict) else given) not in off
    ]


def job_fields(asked: Img2Img) -> Fields:
    """The fields that all jobs of a body share; every job gets the LoRAs of its prompt."""
    fields: list[tuple[str, str]] = []
    if asked.prompt:
        fields.append(("prompt", asked.prompt))
    if asked.negative_prompt:
        fields.append(("negative_prompt", asked.negative_prompt))
    if asked.denoising_strength is not None:
        strength = max(LEAST_STRENGTH, asked.denoising_strength)
        fields.append(("strength", str(strength)))
    sampler = sampler_named(asked.sampler)
    if asked.steps is not None and sampler != "once":
        fields.append(("steps", str(min(MOST_STEPS, asked.steps))))
    if asked.cfg_scale is not None:
        fields.append(("guidance_scale", str(min(MOST_GUIDANCE, asked.cfg_scale))))
    if sampler is not None:
        fields.append(("sampler", sampler))
    return tuple(fields)


def sized_fields(asked: Img2Img, source: Size, services: Services) -> Fields:
    """The fields that bring a picture of this size to the wanted size; without one it keeps its
    own.
    """
    if asked.wanted is None:
        return (("upscale", "1"),)
    return size_fields(asked.wanted, source, services.settings.max_side)


def seed_fields(asked: Img2Img, place: int) -> Fields:
    return () if asked.seed is None else (("seed", str((asked.seed + place) % 2**32)),)
