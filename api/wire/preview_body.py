"""The body of `POST /v1/previews`, as it is checked and as OpenAPI shows it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.params import MOST_LEVELS, MOST_LORAS


class PreviewBody(BaseModel):
    """What to preview. A new request with the same `session` supersedes the earlier one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image_id": "9f86d0…", "lora": "denoise:0.8", "strength": 0.4, "session": "slider"}
            ]
        },
    )

    image_id: Annotated[str, Field(max_length=64)]
    lora: Annotated[str, Field(max_length=160)] | Annotated[list[str], Field(max_length=MOST_LORAS)]
    base: Annotated[str | None, Field(max_length=128)] = None
    strength: float | None = None
    pyramid: Annotated[int | None, Field(ge=1, le=MOST_LEVELS)] = None
    prompt: str | None = None
    seed: int | None = None
    session: Annotated[str | None, Field(max_length=64)] = None
