"""The base of everything that is stored or sent between processes of different versions.

Owns how a record is read and written. A form is checked strictly where it comes in; a record was
checked by whoever wrote it, perhaps a newer version, and is read tolerantly: fields and values that
this version does not know stay as they came, and go on with the record.
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
    """Frozen. Construct it with values of this version; `read` what another may have written.

    A new field needs a default: records of the version before do not have it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        # Of no interest to whoever reads the API's document.
        json_schema_extra=lambda schema: schema.pop("additionalProperties", None),
    )

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """The record as it was stored. Raises ValueError where a field is missing that always was
        there, or where it is no record at all.
        """
        return cls.model_validate_json(text, context=_STORED)

    @classmethod
    def read_fields(cls, fields: object) -> Self:
        """The same from fields that have been parsed already."""
        return cls.model_validate(fields, context=_STORED)

    def stored(self) -> str:
        """What `read` reads."""
        return self.model_dump_json(warnings=False)

    @property
    def strange(self) -> list[str]:
        """Fields of this version whose values it does not know."""
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
    """Words that later versions may add to: an unknown one is a member of its own."""

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
