"""Pictures in base64, in the forms that AUTOMATIC1111's clients send: bare, as a data URL, or in
lines.
"""

import base64
import binascii
import re
from collections.abc import Callable

from api.wire.sentence import Sentence
from shared.errors import InvalidImage

PREFIX = re.compile(r"\s*data:[\w.+/-]{0,60}(?:;[\w=-]{1,40}){0,3},", re.ASCII)
BLANKS = re.compile(rb"\s+")


def reader_of(text: str) -> Callable[[], bytes]:
    """A function that returns the picture's bytes. It raises InvalidImage."""
    return lambda: decoded(text)


def decoded(text: str) -> bytes:
    """The bytes of a picture. Raises InvalidImage."""
    if text.lstrip()[:8].lower().startswith(("http://", "https://")):
        raise InvalidImage(
            Sentence(
                "pictures are not downloaded from addresses here: send it as base64",
                "这里不从网址下载图片：请以 base64 发送",
            )
        )
    head = PREFIX.match(text)
    bare = BLANKS.sub(b"", text[head.end() if head else 0 :].encode("ascii", "replace"))
    try:
        data = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(Sentence("the picture is not base64", "图片不是 base64")) from error
    if not data:
        raise InvalidImage(Sentence("the picture is empty", "图片为空"))
    return data


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
