"""Receives a multipart form under limits on bytes, parts and time.

Owns reading: at most the limit and one network read; slow senders are disconnected; no files are
left behind. Does not know what the fields mean.
"""

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from api.wire.errors import InvalidFields
from api.wire.problems import FieldProblem
from api.wire.sentence import Sentence
from shared.errors import (
    MalformedMultipart,
    MalformedRequest,
    PayloadTooLarge,
    RetouchError,
    UnsupportedMediaType,
)

FILE_FIELD, MASK_FIELD = "image", "mask"
RIGHT_WAY = Sentence(
    "the request is not multipart/form-data; send the picture as a file in the field 'image', as "
    "curl -F image=@photo.jpg does, not as a bare body and not as JSON",
    "请求不是 multipart/form-data；请把图片作为文件放在 image 字段中发送，例如 "
    "curl -F image=@photo.jpg，不要直接发送图片内容或 JSON",
)
# Space for the other fields and the parts' headers beside the file.
FORM_OVERHEAD_BYTES = 64 * 1024
MAX_FIELDS = 64
MAX_FIELD_BYTES = 16 * 1024
# A sender's initial time; every received byte extends it at this rate.
PATIENCE_SECONDS = 25.0
SLOWEST_BYTES_PER_SECOND = 8 * 1024
CHUNK_BYTES = 2**20
# Where a form's closing boundary is searched; other data may follow it.
TAIL_BYTES = 1024
# RFC 2046, 5.1.1, without quotes that need escaping.
BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True)
class Bounds:
    """The largest number of bytes of a body, the error for more, the error for an incomplete body,
    and how it must end.
    """

    limit: int
    too_large: Sentence
    malformed: type[RetouchError]
    closing: bytes = b""


JSON_BOUNDS = Bounds(
    64 * 1024,
    Sentence("the request has more than 64 KiB", "请求内容超过 64 KiB"),
    MalformedRequest,
)


@dataclass(frozen=True)
class Form:
    """A received form: its text fields in order, its file and its mask if it has them."""

    fields: tuple[tuple[str, str], ...]
    file: UploadFile | None
    mask: UploadFile | None = None

    def read_file(self) -> bytes:
        """The file's bytes; call from a thread."""
        return _whole(self.file)

    def read_mask(self) -> bytes:
        """The mask's bytes; call from a thread."""
        return _whole(self.mask)

    def files_sha256(self) -> str:
        """The sha256 of the files as they were sent; empty without a file. Call from a thread."""
        digests = [_sha256(self.file) if self.file else ""]
        return ":".join(digests + ([_sha256(self.mask)] if self.mask else []))


def _whole(upload: UploadFile | None) -> bytes:
    assert upload is not None
    upload.file.seek(0)
    return upload.file.read()


def _sha256(upload: UploadFile) -> str:
    upload.file.seek(0)
    digest = hashlib.sha256()
    while chunk := upload.file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Parts:
    """All parts of a form, by name and in order."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, UploadFile], ...]


@asynccontextmanager
async def received_form(
    request: Request, max_file_bytes: int, names: tuple[str, ...] = (FILE_FIELD,)
) -> AsyncIterator[Form]:
    """Receives the request's form, whose files may have these names and are deleted afterwards.

    Raises UnsupportedMediaType, MalformedMultipart, PayloadTooLarge, InvalidFields.
    """
    async with received_parts(request, max_file_bytes) as parts:
        files = {name: file for name, file in parts.files if not _is_unchosen(name, file)}
        _refuse_misplaced(parts, names)
        yield Form(parts.fields, files.get(FILE_FIELD), files.get(MASK_FIELD))


@asynccontextmanager
async def received_parts(
    request: Request, max_file_bytes: int, max_files: int = 4
) -> AsyncIterator[Parts]:
    """Receives the parts of the request's form; their files are deleted afterwards. The whole form
    may have as many bytes as one file.

    Raises UnsupportedMediaType, MalformedMultipart, PayloadTooLarge.
    """
    boundary = _boundary(request)
    bounds = _bounds_of_a_file(max_file_bytes, boundary)
    _check_length(request, bounds)
    parser = MultiPartParser(
        _plain_headers(boundary),
        _limited(request, bounds),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        parsed = await parser.parse()
    except MultiPartException as error:
        raise _malformed(error, max_files) from error
    try:
        yield _checked(parsed.multi_items(), max_file_bytes, bounds)
    finally:
        await parsed.close()


def _malformed(error: MultiPartException, max_files: int) -> MalformedMultipart:
    for start, most, en, zh in (
        ("Too many files", max_files, "files", "个文件"),
        ("Too many fields", MAX_FIELDS, "fields", "个字段"),
    ):
        if error.message.startswith(start):
            return MalformedMultipart(
                Sentence(f"the form has more than {most} {en}", f"表单中超过 {most} {zh}")
            )
    return MalformedMultipart()


async def received_json(request: Request) -> bytes:
    """The body of a request that sends JSON.

    Raises UnsupportedMediaType, PayloadTooLarge, MalformedRequest.
    """
    _check_json(request)
    _check_length(request, JSON_BOUNDS)
    return b"".join([piece async for piece in _limited(request, JSON_BOUNDS)])


@asynccontextmanager
async def received_large_json(request: Request, max_bytes: int) -> AsyncIterator[IO[bytes]]:
    """Receives the body of a request that sends JSON as a file, which is deleted afterwards.

    Raises UnsupportedMediaType, PayloadTooLarge, MalformedRequest.
    """
    megabytes = f"{max_bytes / 2**20:.3g}"
    said = Sentence(
        f"the request has more than {megabytes} MiB, the most that is accepted here",
        f"请求内容超过 {megabytes} MiB 的上限",
    )
    bounds = Bounds(max_bytes, said, MalformedRequest)
    _check_json(request)
    _check_length(request, bounds)
    with SpooledTemporaryFile(CHUNK_BYTES) as file:
        async for piece in _limited(request, bounds):
            file.write(piece)
        file.seek(0)
        yield file


def _check_json(request: Request) -> None:
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind != b"application/json":
        raise UnsupportedMediaType(
            Sentence("the request is not application/json", "请求不是 application/json")
        )


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType(RIGHT_WAY)
    boundary = options.get(b"boundary", b"")
    if not BOUNDARY.fullmatch(boundary):
        raise MalformedMultipart()
    return boundary


def _plain_headers(boundary: bytes) -> Headers:
    # The sender's charset is ignored: some of Python's codecs raise arbitrary errors, and some
    # expand data.
    return Headers({"content-type": f'multipart/form-data; boundary="{boundary.decode("ascii")}"'})


def _check_length(request: Request, bounds: Bounds) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > bounds.limit:
        raise PayloadTooLarge(bounds.too_large)


async def _limited(request: Request, bounds: Bounds) -> AsyncGenerator[bytes, None]:
    received, tail, started = 0, b"", time.monotonic()
    async with aclosing(request.stream()) as stream:
        while True:
            deadline = started + PATIENCE_SECONDS + received / SLOWEST_BYTES_PER_SECOND
            chunk = await _next_chunk(stream, deadline - time.monotonic(), bounds)
            if chunk is None:
                break
            received, tail = received + len(chunk), (tail + chunk[-TAIL_BYTES:])[-TAIL_BYTES:]
            if received > bounds.limit:
                raise PayloadTooLarge(bounds.too_large)
            yield chunk
    if bounds.closing not in tail:
        # If fields were lost, the request would be another one than the sender meant.
        raise bounds.malformed(Sentence("the body is incomplete", "请求内容不完整"))


async def _next_chunk(stream: AsyncIterator[bytes], seconds: float, bounds: Bounds) -> bytes | None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await anext(stream)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise bounds.malformed(
            Sentence("the body arrived too slowly", "请求内容发送得太慢")
        ) from error
    except ClientDisconnect as error:
        raise bounds.malformed("the connection was lost") from error


def _checked(
    items: list[tuple[str, str | UploadFile]], max_file_bytes: int, bounds: Bounds
) -> Parts:
    files = tuple((name, item) for name, item in items if isinstance(item, UploadFile))
    fields = tuple((name, item) for name, item in items if isinstance(item, str))
    if any((file.size or 0) > max_file_bytes for _, file in files):
        raise PayloadTooLarge(bounds.too_large)
    return Parts(fields, files)


def _is_unchosen(name: str, file: UploadFile) -> bool:
    """Browsers send an empty file for a field in which the user has chosen none."""
    return name == MASK_FIELD and not file.filename and not file.size


def _refuse_misplaced(parts: Parts, names: tuple[str, ...]) -> None:
    problems = [
        FieldProblem(
            pointer=f"/{name[:100]}",
            detail="must not be a file; the picture goes into the field image",
        )
        for name, _ in parts.files
        if name not in names
    ]
    counted = Counter(name for name, _ in parts.files)
    for known in names:
        if any(name == known for name, _ in parts.fields):
            problems.append(FieldProblem(pointer=f"/{known}", detail="must be a file"))
        if counted[known] > 1:
            problems.append(FieldProblem(pointer=f"/{known}", detail="is given more than once"))
    if problems:
        raise InvalidFields(problems)


def _bounds_of_a_file(max_bytes: int, boundary: bytes) -> Bounds:
    megabytes = f"{max_bytes / 2**20:g}"
    sentence = Sentence(
        f"the file has more than {megabytes} MiB, the most that is accepted here",
        f"文件超过 {megabytes} MiB 的上限",
    )
    limit, closing = max_bytes + FORM_OVERHEAD_BYTES, b"--" + boundary + b"--"
    return Bounds(limit, sentence, MalformedMultipart, closing)
