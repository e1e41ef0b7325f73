"""Pydantic's errors about a field, in the caller's language.

Owns a message for each kind of error; a kind that is not listed gets Pydantic's own English text.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from api.wire.problems import FieldProblem
from shared.messages import Language

SENTENCES: dict[str, tuple[str, str]] = {
    "missing": ("is missing", "缺少此项"),
    "extra_forbidden": ("is not a field of this request", "没有这个字段"),
    "greater_than_equal": ("must be at least {ge}", "不能小于 {ge}"),
    "less_than_equal": ("must be at most {le}", "不能大于 {le}"),
    "finite_number": ("must be a finite number", "必须是有限的数"),
    "float_parsing": ("must be a number", "必须是数字"),
    "int_parsing": ("must be a whole number", "必须是整数"),
    "int_parsing_size": ("is far too large", "数字过大"),
    "int_from_float": ("must be a whole number", "必须是整数"),
    "bool_parsing": ("must be true or false", "必须是 true 或 false"),
    "int_type": ("must be a whole number", "必须是整数"),
    "float_type": ("must be a number", "必须是数字"),
    "bool_type": ("must be true or false", "必须是 true 或 false"),
    "string_type": ("must be a text", "必须是文本"),
    "list_type": ("must be a list", "必须是列表"),
    "dict_type": ("must be an object", "必须是对象"),
    "model_type": ("must be an object", "必须是对象"),
    "model_attributes_type": ("must be an object", "必须是对象"),
    "greater_than": ("must be more than {gt}", "必须大于 {gt}"),
    "less_than": ("must be less than {lt}", "必须小于 {lt}"),
    "too_short": ("has fewer than {min_length} entries", "至少 {min_length} 项"),
    "string_too_short": ("has fewer than {min_length} characters", "至少 {min_length} 个字符"),
    "literal_error": ("must be one of {expected}", "只能是 {expected}"),
    "string_too_long": ("has more than {max_length} characters", "超过 {max_length} 个字符"),
    "too_long": ("has more than {max_length} entries", "最多 {max_length} 项"),
    "lora_name": ("is not a valid name", "名称不合规则"),
    "string_pattern_mismatch": ("is not a valid name", "名称不合规则"),
    "given_twice": ("is given more than once", "重复给出"),
}


def field_problems(
    errors: Iterable[Mapping[str, Any]], language: Language, skip: int = 0
) -> list[FieldProblem]:
    """One FieldProblem per error; the first `skip` parts of each location are left out."""
    return [
        FieldProblem(pointer=pointer(error["loc"][skip:]), detail=_sentence(error, language))
        for error in errors
    ]


def pointer(parts: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901) to a location in the request."""
    escaped = (str(part)[:100].replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped)


def _sentence(error: Mapping[str, Any], language: Language) -> str:
    known = SENTENCES.get(error["type"])
    if known is None:
        return str(error["msg"]).removeprefix("Value error, ")
    return known[language == "zh"].format(**error.get("ctx", {}))
