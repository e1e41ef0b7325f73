"""A submission's parameters and photo as the fields of a multipart form.

Owns how Python values are spelled in a form. Their ranges are the service's to check.
"""

from collections.abc import Iterable
from pathlib import Path

Param = str | int | float | bool | Iterable[str] | None


def named_bytes(photo: Path | bytes) -> tuple[str, bytes]:
    """A file name for the form, and the photo's bytes."""
    if isinstance(photo, bytes):
        return "photo", photo
    return photo.name, photo.read_bytes()


def form_fields(params: dict[str, Param]) -> dict[str, str | list[str]]:
    """The fields that are given; None leaves one to the service."""
    return {name: _field(value) for name, value in params.items() if value is not None}


def _field(value: Param) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return [str(item) for item in value or ()]
