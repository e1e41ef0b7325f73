"""The decoding child's measurements of a picture."""

from pydantic import BaseModel, ConfigDict


class Quality(BaseModel):
    """The decoding child's measurements; `measure` documents the numbers."""

    model_config = ConfigDict(frozen=True)

    sharpness: float
    light: float
    spread: float
