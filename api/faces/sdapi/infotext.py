"""The description of how a picture was made: the text that AUTOMATIC1111 writes into its files.

Owns the text's format, writing it into a PNG, and reading it from one, without decoding the
picture.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from api.faces.sdapi.lists import SAMPLERS
from shared.jobs import Job
from shared.params import DEFAULT_SAMPLER

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEY = b"parameters"
MOST_TEXT_BYTES = 2**20


def infotext(job: Job, size: tuple[int, int]) -> str:
    """The text: prompt, negative prompt, and a line of settings."""
    params = job.params
    tags = "".join(f"<lora:{lora.name}:{lora.scale:g}>" for lora in params.loras)
    settings = {
        "Steps": params.steps,
        "Sampler": SAMPLERS[params.sampler or DEFAULT_SAMPLER],
        "CFG scale": "" if params.guidance_scale is None else f"{params.guidance_scale:g}",
        "Seed": params.seed,
        "Size": f"{size[0]}x{size[1]}",
        "Model": job.spec.base,
        "Denoising strength": "" if params.strength is None else f"{params.strength:g}",
        "Version": "retouch",
    }
    line = ", ".join(f"{name}: {value}" for name, value in settings.items() if value != "")
    return "\n".join(
        [
            f"{params.prompt or ''}{tags}".strip(),
            f"Negative prompt: {params.negative_prompt or ''}",
            line,
        ]
    )


def with_text(data: bytes, text: str) -> bytes:
    """The PNG with the text added; other files unchanged."""
    if not data.startswith(SIGNATURE):
        return data
    body = KEY + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
    head = len(SIGNATURE) + 25  # the signature, and the first chunk, whose length is fixed
    return data[:head] + _chunk(b"iTXt", body) + data[head:]


def text_of(data: bytes) -> str:
    """The text in a PNG; empty if it has none."""
    for kind, body in _chunks(data):
        if kind in (b"tEXt", b"iTXt", b"zTXt") and body.partition(b"\0")[0] == KEY:
            return _text(kind, body)
    return ""


def settings_of(text: str) -> dict[str, Any]:
    """The text split into its parts, with the names that clients know."""
    head, _, line = text.rpartition("\n")
    if "Steps: " not in line:
        head, line = text, ""
    prompt, _, negative = head.partition("\nNegative prompt:")
    found: dict[str, Any] = {"Prompt": prompt.strip(), "Negative prompt": negative.strip()}
    for part in line.split(", "):
        name, colon, value = part.partition(": ")
        if colon:
            found[name.strip()] = value.strip()
    width, _, height = str(found.get("Size", "")).partition("x")
    return found | ({"Size-1": width, "Size-2": height} if height else {})


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE) if data.startswith(SIGNATURE) else len(data)
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def _text(kind: bytes, body: bytes) -> str:
    value = body.partition(b"\0")[2]
    if kind == b"tEXt":
        return value[:MOST_TEXT_BYTES].decode("latin-1")
    if kind == b"zTXt":
        return _inflated(value[1:]).decode("latin-1")
    is_compressed = value[:1] == b"\1"
    rest = value[2:].partition(b"\0")[2].partition(b"\0")[2]
    text = _inflated(rest) if is_compressed else rest[:MOST_TEXT_BYTES]
    return text.decode("utf-8", "replace")


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_TEXT_BYTES)
    except zlib.error:
        return b""


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
