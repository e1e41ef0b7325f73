"""Answers that a caller may cache: entity tags and conditional requests.

Owns `ETag`, `If-None-Match` and 304.
"""

from collections.abc import Mapping

from fastapi import Request
from fastapi.responses import Response

FOREVER = "private, max-age=86400, immutable"
ASK_AGAIN = "private, no-cache"


def cached_response(
    request: Request, body: bytes, etag: str, media_type: str, headers: Mapping[str, str]
) -> Response:
    """The body under a strong entity tag, or 304 when the caller has it already."""
    quoted = f'"{etag}"'
    every = {**headers, "ETag": quoted}
    if _has(request.headers.get("if-none-match", ""), quoted):
        return Response(status_code=304, headers=every)
    return Response(body, media_type=media_type, headers=every)


def _has(if_none_match: str, quoted: str) -> bool:
    # If-None-Match compares weakly (RFC 9110, 13.1.2).
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return quoted in known or "*" in known
