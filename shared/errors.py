"""The one tree of failures that retouch reports on purpose.

Owns the codes. Knows nothing of HTTP (api/wire/errors.py maps a class to a status) and nothing of
wording (shared/messages.py has the sentences). The message is the only constructor argument, so
that an error survives any serializer.
"""


class RetouchError(Exception):
    """Base class for every failure that retouch reports on purpose."""

    code = "internal_error"
    retryable = False


class MalformedMultipart(RetouchError):
    """Raised when a request body is not the multipart form that it claims to be."""

    code = "malformed_multipart"


class MalformedRequest(RetouchError):
    """Raised when what came in is not HTTP, or a body came too slowly or in crumbs."""

    code = "malformed_request"


class LoraBaseMismatch(RetouchError):
    """Raised when a LoRA was made for another base than the one that this service runs."""

    code = "lora_base_mismatch"


class Unauthenticated(RetouchError):
    """Raised when a request carries no key, or one that is not known."""

    code = "unauthenticated"


class Forbidden(RetouchError):
    """Raised when a known key lacks the scope that a route asks for."""

    code = "forbidden"


class NotFound(RetouchError):
    """Raised when no route, problem page or worker has the name that was asked for."""

    code = "not_found"


class MethodNotAllowed(RetouchError):
    """Raised when an address exists but does not take the request's method."""

    code = "method_not_allowed"


class JobNotFound(RetouchError):
    """Raised when no job of the caller has this id."""

    code = "job_not_found"


class LoraNotFound(RetouchError):
    """Raised when the catalogue has no LoRA of this name."""

    code = "lora_not_found"


class UpscalerNotFound(RetouchError):
    """Raised when no enlarger has this name."""

    code = "upscaler_not_found"


class ImageNotFound(RetouchError):
    """Raised when no uploaded picture has this id, or it has expired."""

    code = "image_not_found"


class NotFinished(RetouchError):
    """Raised when a result is asked for before the job has one."""

    code = "not_finished"
    retryable = True


class AlreadyFinished(RetouchError):
    """Raised when a job that is done is asked to stop."""

    code = "already_finished"


class Superseded(RetouchError):
    """Raised when a newer preview of the same session makes this one pointless."""

    code = "superseded"


class IdempotencyInFlight(RetouchError):
    """Raised when the first request with this idempotency key is still being received."""

    code = "idempotency_in_flight"
    retryable = True


class ResultExpired(RetouchError):
    """Raised when a job's picture has passed its time to live."""

    code = "result_expired"


class PayloadTooLarge(RetouchError):
    """Raised when an upload has more bytes than the service takes."""

    code = "payload_too_large"


class UnsupportedMediaType(RetouchError):
    """Raised when an upload is not a PNG, JPEG or WebP picture."""

    code = "unsupported_media_type"


class AnimatedImage(RetouchError):
    """Raised when an upload has more than one frame."""

    code = "animated_image"


class ValidationFailed(RetouchError):
    """Raised when parameters are outside their range, unknown, or do not go together."""

    code = "validation_error"


class InvalidImage(RetouchError):
    """Raised when a picture cannot be decoded."""

    code = "invalid_image"


class ImageTruncated(RetouchError):
    """Raised when a picture's data ends before the picture does."""

    code = "image_truncated"


class ImageTooLarge(RetouchError):
    """Raised when a picture has more pixels than the service takes."""

    code = "image_too_large"


class ImageTooSmall(RetouchError):
    """Raised when a picture's side is below what any model can use."""

    code = "image_too_small"


class ImageTooBlurry(RetouchError):
    """Raised when a picture holds too little detail for the model to work from."""

    code = "image_too_blurry"


class ImageTooDark(RetouchError):
    """Raised when a picture is too dark for anything to be made out in it."""

    code = "image_too_dark"


class ImageBlank(RetouchError):
    """Raised when a picture is one colour."""

    code = "image_blank"


class LoraQuarantined(RetouchError):
    """Raised when a LoRA is held back because of its structure or its content."""

    code = "lora_quarantined"


class UpscalerUnusable(RetouchError):
    """Raised when a file of that name is no enlarger that can be used here, or cannot do that."""

    code = "upscaler_unusable"


class IdempotencyKeyReuse(RetouchError):
    """Raised when an idempotency key comes again with another request."""

    code = "idempotency_key_reuse"


class RateLimited(RetouchError):
    """Raised when a caller sends more than its rate."""

    code = "rate_limited"
    retryable = True


class Overloaded(RetouchError):
    """Raised when a gateway has as many connections, uploads or followers as it can hold."""

    code = "overloaded"
    retryable = True


class QueueFull(RetouchError):
    """Raised when as many jobs wait as the service is willing to hold."""

    code = "queue_full"
    retryable = True


class StorageFull(RetouchError):
    """Raised when the disk or the store has no room for another job."""

    code = "storage_full"
    retryable = True


class StoreUnavailable(RetouchError):
    """Raised when Redis cannot be reached or does not answer in time."""

    code = "store_unavailable"
    retryable = True


class NoWorker(RetouchError):
    """Raised when something needs a live worker and none has a fresh heartbeat."""

    code = "no_worker"
    retryable = True


class OutOfMemory(RetouchError):
    """Raised when the device cannot hold a job, even after every rung of the ladder."""

    code = "out_of_memory"
    retryable = True


class UnsafeOutput(RetouchError):
    """Raised when the finished picture is unsafe to show."""

    code = "unsafe_output"


class UnsafeInput(RetouchError):
    """Raised when the uploaded picture is unsafe to work on."""

    code = "unsafe_input"


class WatermarkInOutput(RetouchError):
    """Raised when the model put a code, an address or a watermark into the picture."""

    code = "watermark_in_output"


class LoraChanged(RetouchError):
    """Raised when a LoRA file is no longer the one that was checked."""

    code = "lora_changed"
    retryable = True


class LoraCorrupt(RetouchError):
    """Raised when a LoRA file's weights cannot be loaded into the base."""

    code = "lora_corrupt"


class UpscalerChanged(RetouchError):
    """Raised when an enlarger's file was replaced or removed while the job waited."""

    code = "upscaler_changed"
    retryable = True


class UpscalerCorrupt(RetouchError):
    """Raised when an enlarger's weights cannot be loaded, or make no picture."""

    code = "upscaler_corrupt"


class StepTimeout(RetouchError):
    """Raised when a denoising step does not end within the watchdog's patience."""

    code = "step_timeout"
    retryable = True


class CrashedTooOften(RetouchError):
    """Raised when a job took its worker down as often as a job may."""

    code = "crashed_too_often"


class InternalError(RetouchError):
    """Raised for what nobody foresaw; the details are in the log, never in the answer."""

    code = "internal_error"
    retryable = True


class JobCanceled(BaseException):
    """Raised from the step callback to stop a job that its client canceled.

    Neither a RetouchError nor an Exception: a broad `except` inside a pipeline must not swallow it.
    The runner alone catches it.
    """


class LeaseLost(BaseException):
    """Raised from the step callback when another claim has overtaken this attempt.

    Control flow like JobCanceled: the attempt stops at this step and commits nothing.
    """


def _families(root: type[RetouchError]) -> dict[str, type[RetouchError]]:
    return {cls.code: cls for cls in root.__subclasses__()}


ERRORS: dict[str, type[RetouchError]] = _families(RetouchError)
"""Every code and its class."""
