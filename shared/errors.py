"""The tree of all failures that retouch reports on purpose.

Owns the codes. Knows nothing of HTTP (api/wire/errors.py maps a class to a status) or of messages
(shared/messages.py has them). The message is the only constructor argument, so that an error
survives any serializer.
"""

import re
from typing import ClassVar, Self

_CAPITAL = re.compile("(?<!^)(?=[A-Z])")


class RetouchError(Exception):
    """Base class for every failure that retouch reports on purpose.

    `code` is the class's name in snake case, unless the class says otherwise; a subclass of one of
    the tree's classes has its parent's code.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if RetouchError in cls.__bases__ and "code" not in cls.__dict__:
            cls.code = _CAPITAL.sub("_", cls.__name__).lower()


class MalformedMultipart(RetouchError):
    """Raised when a request body is not the multipart form that it claims to be."""


class MalformedRequest(RetouchError):
    """Raised when the data is not HTTP, or a body arrived too slowly or in tiny chunks."""


class LoraBaseMismatch(RetouchError):
    """Raised when a LoRA was made for another base than the one that this service runs."""


class Unauthenticated(RetouchError):
    """Raised when a request carries no key, or an unknown one."""


class Forbidden(RetouchError):
    """Raised when a known key lacks the scope that a route requires."""


class NotFound(RetouchError):
    """Raised when no route, problem page or worker has the requested name."""


class MethodNotAllowed(RetouchError):
    """Raised when an address exists but does not support the request's method."""


class JobNotFound(RetouchError):
    """Raised when no job of the caller has this id."""


class LoraNotFound(RetouchError):
    """Raised when the catalogue has no LoRA with this name."""


class UpscalerNotFound(RetouchError):
    """Raised when no enlarger has this name."""

    code = "upscaler_not_found"


class ImageNotFound(RetouchError):
    """Raised when no uploaded picture has this id, or it has expired."""


class NotFinished(RetouchError):
    """Raised when a result is requested before the job has one."""

    retryable = True


class AlreadyFinished(RetouchError):
    """Raised when a finished job is canceled."""


class Superseded(RetouchError):
    """Raised when a newer preview of the same session supersedes this one."""


class IdempotencyInFlight(RetouchError):
    """Raised when the first request with this idempotency key is still being received."""

    retryable = True


class ResultExpired(RetouchError):
    """Raised when a job's picture has expired."""


class PayloadTooLarge(RetouchError):
    """Raised when an upload has more bytes than the service accepts."""


class UnsupportedMediaType(RetouchError):
    """Raised when an upload is not a picture in a supported format."""


class AnimatedImage(RetouchError):
    """Raised when an upload has more than one frame."""


class ValidationFailed(RetouchError):
    """Raised when parameters are outside their range, unknown, or contradictory."""

    code = "validation_error"


class InvalidImage(RetouchError):
    """Raised when a picture cannot be decoded."""


class ImageTruncated(RetouchError):
    """Raised when a picture's data is incomplete."""


class ImageTooLarge(RetouchError):
    """Raised when a picture has more pixels than the service accepts."""


class ImageTooSmall(RetouchError):
    """Raised when a picture's side is too short for any model."""


class ImageTooBlurry(RetouchError):
    """Raised when a picture has too little detail for the model."""


class ImageTooDark(RetouchError):
    """Raised when a picture is too dark for anything to be recognisable."""


class ImageBlank(RetouchError):
    """Raised when a picture has only one colour."""


class LoraQuarantined(RetouchError):
    """Raised when a LoRA is quarantined because of its structure or its content."""


class UpscalerUnusable(RetouchError):
    """Raised when the named file is not a usable enlarger, or cannot do what is asked."""

    code = "upscaler_unusable"


class IdempotencyKeyReuse(RetouchError):
    """Raised when an idempotency key is used again for a different request."""


class RateLimited(RetouchError):
    """Raised when a caller exceeds its rate."""

    retryable = True


class Overloaded(RetouchError):
    """Raised when a gateway has reached its limit of connections, uploads or followers."""

    retryable = True


class QueueFull(RetouchError):
    """Raised when the queue has reached its limit of waiting jobs."""

    retryable = True


class StorageFull(RetouchError):
    """Raised when the disk or the store has no room for another job."""

    retryable = True


class StoreUnavailable(RetouchError):
    """Raised when Redis cannot be reached or does not answer in time."""

    retryable = True


class StoreRefuses(StoreUnavailable):
    """Raised when Redis answers but will always refuse the request: its user lacks permission, or
    it is a cluster. A process that meets this error at start does not start.
    """


class NoWorker(RetouchError):
    """Raised when a live worker is needed and none has a recent heartbeat."""

    retryable = True


class OutOfMemory(RetouchError):
    """Raised when the device cannot hold a job, even after every step of the memory ladder."""

    retryable = True


class UnsafeOutput(RetouchError):
    """Raised when the finished picture is unsafe to show."""


class UnsafeInput(RetouchError):
    """Raised when the uploaded picture is too unsafe to process."""


class WatermarkInOutput(RetouchError):
    """Raised when the model put a code, an address or a watermark into the picture."""


class LoraChanged(RetouchError):
    """Raised when a LoRA file is no longer the one that was checked."""

    retryable = True


class LoraCorrupt(RetouchError):
    """Raised when a LoRA file's weights cannot be loaded into the base."""

    sha256 = ""
    layer = ""

    @classmethod
    def at(cls, message: str, sha256: str, layer: str) -> Self:
        """Adds the file, by its digest, and the layer at which loading failed."""
        error = cls(message)
        error.sha256, error.layer = sha256, layer
        return error


class UpscalerChanged(RetouchError):
    """Raised when an enlarger's file was replaced or removed while the job waited."""

    code = "upscaler_changed"
    retryable = True


class UpscalerCorrupt(RetouchError):
    """Raised when an enlarger's weights cannot be loaded, or make no picture."""

    code = "upscaler_corrupt"


class StepTimeout(RetouchError):
    """Raised when a denoising step does not end within the watchdog's time limit."""

    retryable = True


class CrashedTooOften(RetouchError):
    """Raised when a job has crashed its worker as often as is allowed."""


class InternalError(RetouchError):
    """Raised for unexpected failures; the details are in the log, never in the answer."""

    retryable = True


class JobCanceled(BaseException):
    """Raised from the step callback to stop a job that its client canceled.

    Neither a RetouchError nor an Exception: a broad `except` inside a pipeline must not swallow it.
    Only the runner catches it.
    """


class LeaseLost(BaseException):
    """Raised from the step callback when a newer claim has replaced this attempt.

    Control flow like JobCanceled: the attempt stops at this step and commits nothing.
    """


def _families(root: type[RetouchError]) -> dict[str, type[RetouchError]]:
    return {cls.code: cls for cls in root.__subclasses__()}


ERRORS: dict[str, type[RetouchError]] = _families(RetouchError)
"""Every code and its class."""
