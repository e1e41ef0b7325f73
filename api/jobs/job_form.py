"""The fields of a job's form, checked: names, ranges, LoRAs, and either a file or an image id.

Owns the form's grammar. JobParams defines the ranges; the catalogue knows which file a LoRA's name
means.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.webhooks.addresses import AddressRefused, Allowed, parse_target
from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.sentence import Sentence
from api.wire.wording import field_problems, pointer
from shared.messages import Language
from shared.params import AskedFormat, AskedParams, JobParams, LoraMode, LoraRef
from shared.settings import Settings

# Set by the gateway or the worker, never sent by callers.
_INTERNAL = {
    "lora_mode", "loras", "lora_reason", "lora_reason_zh", "elsewhere",
    "sampler_reason", "sampler_reason_zh",
    "upscale_reason", "upscale_reason_zh", "upscaler_sha256",
}  # fmt: skip
PARAM_FIELDS = tuple(name for name in JobParams.model_fields if name not in _INTERNAL)
AUTO, NONE = "auto", "none"
# May be repeated, or sent once with commas.
LISTS = frozenset({"webhook_events"})


@dataclass(frozen=True)
class JobForm:
    """What a caller asked for, before the catalogue is consulted.

    `unscaled` names the LoRAs whose scale the caller left at the LoRA's own default.
    """

    params: JobParams
    image_id: str | None
    unscaled: frozenset[str]
    image_url: str | None = None

    def fingerprint(self, file_sha256: str) -> str:
        """A hash that is equal for equal requests, whatever the order of their fields."""
        asked: dict[str, Any] = self.params.model_dump(mode="json")
        asked |= {"image_id": self.image_id, "unscaled": sorted(self.unscaled)}
        asked |= {"image_url": self.image_url} if self.image_url else {}
        text = json.dumps([asked, file_sha256], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_job_form(
    fields: tuple[tuple[str, str], ...],
    *,
    has_file: bool,
    settings: Settings,
    language: Language,
    default_lora: str = AUTO,
    default_format: AskedFormat = "auto",
) -> JobForm:
    """Parses and checks the form. Raises InvalidFields, which names every invalid field."""
    values, problems = _collect(fields, language)
    image_id, image_url = values.pop("image_id", None), values.pop("image_url", None)
    problems += _check_picture(image_id, image_url, has_file, language)
    problems += _check_image_url(image_url, settings, language)
    loras = [value for name, value in fields if name == "lora"] or [default_lora]
    mode, refs, unscaled, lora_problems = _read_loras(loras, settings, language)
    problems += lora_problems
    values.setdefault("format", default_format)
    try:
        params = AskedParams.model_validate({**values, "lora_mode": mode, "loras": refs})
    except ValidationError as error:
        raise InvalidFields(problems + field_problems(error.errors(), language)) from error
    problems += _check_deployment(params, settings, language)
    if problems:
        raise InvalidFields(problems)
    return JobForm(params, image_id, unscaled, image_url)


def _collect(
    fields: tuple[tuple[str, str], ...], language: Language
) -> tuple[dict[str, str], list[FieldProblem]]:
    values: dict[str, str] = {}
    wrong: list[dict[str, Any]] = []
    for name, value in fields:
        if name == "lora":
            continue
        if name in values and name in LISTS:
            values[name] += f",{value}"
        elif name in values:
            wrong.append({"loc": (name,), "type": "given_twice"})
        elif name in PARAM_FIELDS or name in ("image_id", "image_url"):
            values[name] = value
        else:
            wrong.append({"loc": (name,), "type": "extra_forbidden"})
    return values, field_problems(wrong, language)


def _check_picture(
    image_id: str | None, image_url: str | None, has_file: bool, language: Language
) -> list[FieldProblem]:
    given = {"/image_id": image_id is not None, "/image_url": image_url is not None}
    named = [place for place, is_given in given.items() if is_given]
    if has_file and named:
        detail = {"en": "must not be given beside image", "zh": "不能与 image 同时给出"}
        return [FieldProblem(pointer=place, detail=detail[language]) for place in named]
    if len(named) > 1:
        detail = {"en": "must not be given beside image_id", "zh": "不能与 image_id 同时给出"}
        return [FieldProblem(pointer="/image_url", detail=detail[language])]
    if not has_file and not named:
        detail = {"en": "is missing: send a picture", "zh": "缺少图片"}
        return [FieldProblem(pointer="/image", detail=detail[language])]
    return []


def _check_image_url(url: str | None, settings: Settings, language: Language) -> list[FieldProblem]:
    if url is None:
        return []
    if not settings.image_urls:
        detail = {
            "en": "is not offered here (RETOUCH_IMAGE_URLS); send the picture itself",
            "zh": "此处未开启（RETOUCH_IMAGE_URLS）；请直接发送图片",
        }
        return [FieldProblem(pointer="/image_url", detail=detail[language])]
    return _check_address("image_url", url, settings, language)


def _check_address(
    name: str, url: str, settings: Settings, language: Language
) -> list[FieldProblem]:
    try:
        parse_target(url, Allowed(settings.webhook_hosts))
    except AddressRefused as error:
        reason: Sentence = error.args[0]
        detail = reason.zh if language == "zh" else str(reason)
        return [FieldProblem(pointer=f"/{name}", detail=detail)]
    return []


def _check_deployment(
    params: JobParams, settings: Settings, language: Language
) -> list[FieldProblem]:
    problems = []
    if params.max_side is not None and params.max_side > settings.max_side:
        at_most = {
            "type": "less_than_equal",
            "loc": ("max_side",),
            "ctx": {"le": settings.max_side},
        }
        problems += field_problems([at_most], language)
    if params.sampler == "once" and params.steps not in (None, 1):
        one = {"en": "must be 1, or left out, with sampler=once", "zh": "sampler=once 时只能为 1"}
        problems.append(FieldProblem(pointer="/steps", detail=one[language]))
    for name, url in (("webhook_url", params.webhook_url), ("result_url", params.result_url)):
        if url is not None:
            problems += _check_address(name, url, settings, language)
    return problems


def _read_loras(
    texts: list[str], settings: Settings, language: Language
) -> tuple[LoraMode, list[LoraRef], frozenset[str], list[FieldProblem]]:
    if texts in ([AUTO], [NONE]):
        return LoraMode(texts[0]), [], frozenset(), []
    if len(texts) > settings.max_loras:
        problem = too_many_loras(settings, language)
        return LoraMode.NAMED, [], frozenset(), [problem]
    refs, unscaled, problems = list[LoraRef](), set[str](), list[FieldProblem]()
    for place, text in enumerate(texts):
        name, colon, scale = text.partition(":")
        try:
            ref = LoraRef.model_validate({"name": name} | ({"scale": scale} if colon else {}))
            problems += scale_problems(ref.scale, ("lora", place), settings, language)
            refs.append(ref)
            unscaled |= set() if colon else {ref.name}
        except ValidationError as error:
            complaints = field_problems(error.errors(), language)
            problems += [
                FieldProblem(pointer=pointer(("lora", place)), detail=complaint.detail)
                for complaint in complaints
            ]
    by_name = {ref.name: ref for ref in refs}
    if len(by_name) < len(refs):
        problems.append(repeated_lora(language))
    if any(name in (AUTO, NONE) for name in texts):
        detail = {"en": "auto and none stand alone", "zh": "auto 和 none 只能单独使用"}
        problems.append(FieldProblem(pointer="/lora", detail=detail[language]))
    return LoraMode.NAMED, list(by_name.values()), frozenset(unscaled), problems


def too_many_loras(settings: Settings, language: Language) -> FieldProblem:
    """The error about more LoRAs than this deployment allows."""
    facts = {"type": "too_long", "loc": ("lora",), "ctx": {"max_length": settings.max_loras}}
    return field_problems([facts], language)[0]


def scale_problems(
    scale: float, place: tuple[str | int, ...], settings: Settings, language: Language
) -> list[FieldProblem]:
    """The error about a scale beyond this deployment's limit."""
    limit = settings.max_lora_scale
    if abs(scale) <= limit:
        return []
    kind, name = ("less_than_equal", "le") if scale > 0 else ("greater_than_equal", "ge")
    facts = {"type": kind, "loc": place, "ctx": {name: limit if scale > 0 else -limit}}
    return field_problems([facts], language)


def repeated_lora(language: Language) -> FieldProblem:
    """The error about a LoRA that is listed twice, under whatever names."""
    detail = {"en": "names one LoRA twice", "zh": "重复指定了同一个 LoRA"}
    return FieldProblem(pointer="/lora", detail=detail[language])
