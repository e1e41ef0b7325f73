"""The base class of everything that is stored or sent between processes of different versions.

Owns how a record is read and written. A form is checked strictly on arrival. A record was checked
by its writer, perhaps a newer version, and is read tolerantly: fields and values that this version
does not know are kept unchanged, and passed on with the record.
"""

from enum import StrEnum
from functools import cache, partial
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler
from pydantic import ValidationError as PydanticError
from pydantic_core import CoreSchema, SchemaValidator, core_schema


class Record(BaseModel):
    """Immutable. Construct it with values of this version; use `read` for records of other
    versions.

    A new field needs a default, because records of the previous version do not have it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        # Irrelevant to readers of the API's document.
        json_schema_extra=lambda schema: schema.pop("additionalProperties", None),
    )

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """The record as it was stored. Raises ValueError if a field that always existed is missing,
        or if it is not a record at all.
        """
        try:
            return cls.model_validate_json(text)
        except PydanticError:
            return cast(Self, _tolerant(cls).validate_json(text))

    @classmethod
    def read_fields(cls, fields: object) -> Self:
        """The same from fields that are already parsed."""
        return cls._read_fields(fields)

    @classmethod
    def _read_fields(cls, fields: object, extra: Literal["ignore"] | None = None) -> Self:
        try:
            return cls.model_validate(fields, extra=extra)
        except PydanticError:
            return cast(Self, _tolerant(cls).validate_python(fields, extra=extra))

    def stored(self) -> str:
        """The text that `read` reads."""
        return self.model_dump_json(warnings=False)

    def of_this_version(self) -> Self:
        """The record, and those inside it, without fields that a later version has added."""
        return self._read_fields(self.model_dump(warnings=False), extra="ignore")

    @property
    def strange(self) -> list[str]:
        """Fields of this version with values unknown to it."""
        known = self.model_dump(include=set(type(self).model_fields), warnings=False)
        try:
            type(self).model_validate(known)
        except PydanticError as error:
            return sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]})
        return []


# What a schema of a model's fields returns: those of this version, others, and the names given.
_Read = tuple[dict[str, Any], dict[str, Any] | None, set[str]]


@cache
def _tolerant(kind: type[Record]) -> SchemaValidator:
    """What reads records with values that this version does not know. Made for the first of them:
    a function of ours around every field would make reading any record take three times as long.
    """
    return SchemaValidator(_with_any_value(kind.__pydantic_core_schema__))


def _with_any_value(schema: Any) -> Any:
    """A schema in which every field of every record may have any value."""
    if isinstance(schema, list):
        return [_with_any_value(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {name: _with_any_value(part) for name, part in schema.items()}
    if walked.get("type") == "model":
        # A model inside a schema is read by its class's own validator, whatever the schema says.
        return core_schema.no_info_after_validator_function(
            partial(_made, walked["cls"]), walked["schema"] | {"extra_behavior": "allow"}
        )
    if walked.get("type") != "model-field":
        return walked
    field = walked["schema"]
    if field["type"] == "default":
        return walked | {"schema": field | {"schema": _kept_as_it_is(field["schema"])}}
    return walked | {"schema": _kept_as_it_is(field)}


def _made(kind: type[Record], read: _Read) -> Record:
    fields, more, named = read
    return kind.model_construct(named, **fields, **(more or {}))


def _kept_as_it_is(schema: CoreSchema) -> CoreSchema:
    return core_schema.no_info_wrap_validator_function(_known_or_kept, schema)


def _known_or_kept(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except PydanticError:
        return value


class OpenEnum(StrEnum):
    """An enumeration that later versions may extend: an unknown value becomes a member of its
    own.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value.upper(), value
        return member

    @property
    def is_known(self) -> bool:
        return self in type(self).__members__.values()
