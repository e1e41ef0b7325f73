"""What the decoding child measures of a picture."""

from pydantic import BaseModel, ConfigDict


class Quality(BaseModel):
    """What the decoding child has measured; its `measure` says what the numbers are."""

    model_config = ConfigDict(frozen=True)

    sharpness: float
    light: float
    spread: float
