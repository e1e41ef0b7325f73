"""Child processes that decode uploads, at most as many as there are threads to use them.

Owns their start, reuse, replacement and end. decoder_child.py is the code that they run. A child
that crashes, hangs or runs out of memory fails only the upload that caused it.
"""

import json
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from api.intake.child_pipes import prepare, read_exactly, write_all
from api.intake.header import Kind
from api.intake.quality import Quality
from api.wire.sentence import Sentence
from shared.errors import ERRORS, InvalidImage, Overloaded
from shared.jobs import About
from shared.kept import KeptAs

CHILD = Path(__file__).with_name("decoder_child.py")
# Fifty megapixels with transparency take ten seconds on a core, which may have other work.
TIMEOUT_SECONDS = 60.0
# A start takes as much processor time as forty pictures of 512 px.
USES_EACH = 1000
# A process that was killed while idle is noticed at the next picture.
TRIES = 2
# Time that a process may take to end after its pipes have closed.
LAST_WORDS_SECONDS = 1.0
# Signals sent by operators or by a kernel short of memory, not caused by a picture.
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
# The interpreter with its decoders, and for the largest picture five copies of four bytes a pixel.
BASE_MEMORY_BYTES = 384 * 2**20
BYTES_PER_PIXEL = 20

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Normalised:
    """An upload as it is stored (shared/kept.py), with warnings about it."""

    data: bytes
    width: int
    height: int
    warnings: list[str]
    quality: Quality
    has_alpha: bool
    about: About


@dataclass(frozen=True)
class NormalMask:
    """A mask as it is stored, a grey PNG; `is_empty` if it is black everywhere."""

    data: bytes
    width: int
    height: int
    is_empty: bool


class Decoders:
    """A pool of decoder processes. They are started when first needed; `close` ends them."""

    def __init__(
        self,
        max_pixels: int,
        timeout_seconds: float = TIMEOUT_SECONDS,
        kept_as: KeptAs = "ppm",
    ) -> None:
        self._order = {"max_pixels": max_pixels, "kept_as": kept_as}
        self._memory = BASE_MEMORY_BYTES + BYTES_PER_PIXEL * max_pixels
        self._timeout = timeout_seconds
        self._idle: list[Decoder] = []
        self._lock = threading.Lock()
        self._closed = False

    def normalise(self, data: bytes, kind: Kind) -> Normalised:
        """Decodes one upload.

        Raises InvalidImage, ImageTruncated, ImageTooLarge, and Overloaded if this machine cannot
        run a decoder, which is not the picture's fault.
        """
        header, body = self._answer({"kind": kind, "as_mask": False}, data)
        return Normalised(
            body,
            header["width"],
            header["height"],
            header["warnings"],
            Quality(**header["quality"]),
            header["has_alpha"],
            About(**header["about"]),
        )

    def mask(self, data: bytes, kind: Kind, *, inverted: bool) -> NormalMask:
        """Decodes one mask. Raises the errors of `normalise`."""
        asked = {"kind": kind, "as_mask": True, "inverted": inverted}
        header, body = self._answer(asked, data)
        return NormalMask(body, header["width"], header["height"], header["is_empty"])

    def _answer(self, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Raises the errors of `normalise`."""
        header, body = self._try(asked, data)
        if "error" in header:
            logger.info("upload refused", code=header["error"], reason=header["reason"][:200])
            raise ERRORS[header["error"]]()
        return header, body

    def _try(self, asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        for _ in range(TRIES):
            decoder = self._take()
            try:
                answer = decoder.ask({**self._order, **asked}, data, self._timeout)
            except (OSError, EOFError, ValueError) as error:
                self._bury(decoder, error)
                continue
            self._give_back(decoder)
            return answer
        raise Overloaded(Sentence("the picture cannot be decoded right now", "现在无法解码图片"))

    def _bury(self, decoder: "Decoder", error: Exception) -> None:
        """Reaps an ended process. Raises InvalidImage if the picture caused its end."""
        is_to_blame = decoder.blames_the_picture()
        decoder.close()
        logger.warning("decoder died", reason=type(error).__name__, exit=decoder.exit_status)
        if is_to_blame:
            raise InvalidImage(
                Sentence("the picture crashed the decoder", "图片导致解码器出错")
            ) from error

    def close(self) -> None:
        """Ends every idle process; a busy one ends when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.close()

    def _take(self) -> "Decoder":
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive:
                    return decoder
                decoder.close()
        try:
            return Decoder(self._memory)
        except OSError as error:
            logger.error("no decoder can be started", reason=str(error))
            raise Overloaded(
                Sentence("no decoder can be started right now", "现在无法启动解码器")
            ) from error

    def _give_back(self, decoder: "Decoder") -> None:
        with self._lock:
            keep = not self._closed and decoder.uses < USES_EACH
            if keep:
                self._idle.append(decoder)
        if not keep:
            decoder.close()


class Decoder:
    """One process. Used by one thread at a time."""

    def __init__(self, memory_bytes: int) -> None:
        # No environment: a compromised decoder cannot reach the gateway's secrets.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", str(CHILD), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        for pipe in (self._orders, self._answers):
            prepare(pipe)
        self.uses = 0
        self._timed_out = False

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return self._process.returncode

    def ask(
        self, order: dict[str, Any], data: bytes, timeout_seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """Sends one order and returns its answer. Raises OSError or EOFError if the process ends
        instead, or does not answer in time.
        """
        self.uses += 1
        try:
            return self._exchange(order, data, time.monotonic() + timeout_seconds)
        except TimeoutError:
            self._timed_out = True
            raise

    def blames_the_picture(self) -> bool:
        """Whether the picture is the reason for the missing answer.

        A picture can crash the process, exceed its limits on time and file size, make it hang or
        make it send an invalid answer. A process that had served other pictures may have ended
        before.
        """
        if self._timed_out or self.uses > 1:
            return self._timed_out
        try:
            status = self._process.wait(LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return status < 0 and -status not in KILLS

    def close(self) -> None:
        """End the process and reap it."""
        self._process.kill()
        for stream in (self._orders, self._answers):
            stream.close()
        self._process.wait()

    def _exchange(
        self, order: dict[str, Any], data: bytes, deadline: float
    ) -> tuple[dict[str, Any], bytes]:
        text = json.dumps({**order, "size": len(data)}).encode()
        write_all(self._orders, struct.pack("!I", len(text)) + text, deadline)
        write_all(self._orders, data, deadline)
        (length,) = struct.unpack("!I", read_exactly(self._answers, 4, deadline))
        header: dict[str, Any] = json.loads(read_exactly(self._answers, length, deadline))
        return header, read_exactly(self._answers, int(header["size"]), deadline)
