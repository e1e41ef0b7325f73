"""The process that decodes uploads of strangers, under limits on memory, CPU time and files.

Owns the limits and the protocol: orders arrive on stdin, answers are sent on stdout, so that a
picture that breaks a decoder breaks only this process. Each message is a length, a JSON header and
the header's `size` bytes. decoding/ owns what is done with an upload.
"""

import json
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parents[2]
CPU_SECONDS_EACH = 20
CPU_SECONDS_IN_ALL = 3600
OPEN_FILES = 16

Message = tuple[dict[str, Any], bytes]


def main(memory_bytes: int) -> None:
    """Answers orders until stdin ends."""
    sys.path.insert(0, str(ROOT))
    from api.intake.decoding.opening import prepare

    prepare()
    _limit(memory_bytes)
    while (message := _receive(sys.stdin.buffer)) is not None:
        _allow_cpu_time()
        header, body = _answer(*message)
        _send(sys.stdout.buffer, header, body)


def _answer(order: dict[str, Any], data: bytes) -> Message:
    from api.intake.decoding.cut_off import is_cut_off
    from api.intake.decoding.mask import read_mask
    from api.intake.decoding.normalise import Order, normalise

    del order["size"]
    read = read_mask if order.pop("as_mask") else normalise
    header, body = _decoded(lambda: read(data, Order(**order)))
    if header.get("error") == "invalid_image" and is_cut_off(data, order["kind"]):
        header["error"] = "image_truncated"
    return header, body


def _decoded(decode: Callable[[], Message]) -> Message:
    try:
        return decode()
    except (EOFError, struct.error) as error:
        return {"error": "image_truncated", "reason": repr(error)}, b""
    except OSError as error:
        code = "image_truncated" if "truncated" in str(error).lower() else "invalid_image"
        return {"error": code, "reason": repr(error)}, b""
    except Exception as error:
        # Decoders raise plain ValueError, SyntaxError, TypeError and more for damaged files.
        return {"error": "invalid_image", "reason": repr(error)}, b""


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def _allow_cpu_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(usage.ru_utime + usage.ru_stime)
    soft = min(spent + CPU_SECONDS_EACH, CPU_SECONDS_IN_ALL)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, CPU_SECONDS_IN_ALL))


def _receive(stream: BinaryIO) -> Message | None:
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    header = json.loads(stream.read(struct.unpack("!I", prefix)[0]))
    return header, stream.read(int(header["size"]))


def _send(stream: BinaryIO, header: dict[str, Any], body: bytes) -> None:
    text = json.dumps({**header, "size": len(body)}).encode()
    stream.write(struct.pack("!I", len(text)) + text)
    stream.write(body)
    stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
