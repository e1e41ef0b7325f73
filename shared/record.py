"""The base class of everything that is stored or sent between processes of different versions.

Owns how a record is read and written. A form is checked strictly on arrival. A record was checked
by its writer, perhaps a newer version, and is read tolerantly: fields and values that this version
does not know are kept unchanged, and passed on with the record.
"""

from enum import StrEnum
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic import ValidationError as PydanticError

_STORED = "stored"


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
        return cls.model_validate_json(text, context=_STORED)

    @classmethod
    def read_fields(cls, fields: object) -> Self:
        """The same from fields that are already parsed."""
        return cls.model_validate(fields, context=_STORED)

    def stored(self) -> str:
        """The text that `read` reads."""
        return self.model_dump_json(warnings=False)

    def of_this_version(self) -> Self:
        """The record, and those inside it, without fields that a later version has added."""
        fields = self.model_dump(warnings=False)
        return type(self).model_validate(fields, extra="ignore", context=_STORED)

    @property
    def strange(self) -> list[str]:
        """Fields of this version with values unknown to it."""
        known = self.model_dump(include=set(type(self).model_fields), warnings=False)
        try:
            type(self).model_validate(known)
        except PydanticError as error:
            return sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]})
        return []

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_what_is_not_known(
        cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return check(value)
        except PydanticError:
            if info.context == _STORED:
                return value
            raise


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
