"""The errors of a request: exceptions by HTTP status and by the service's own code.

Owns the tree. `errors.py` of the service has the same codes. The messages come from the service;
only errors of requests that never reached it are worded here. `answers.py` reads error answers.
"""

from typing import ClassVar


class RetouchProblem(Exception):
    """Raised when the service refuses a request, a job fails, or the server does not answer.

    `code` is the service's own code (`lora_not_found`), `status` the HTTP status or 0 if there is
    none, `detail` what happened, `advice` what to do next, `retryable` whether the same request may
    succeed later, `retry_after` the seconds after which the service suggests a retry.
    """

    of_code: ClassVar[dict[str, type["RetouchProblem"]]] = {}
    of_status: ClassVar[dict[int, type["RetouchProblem"]]] = {}

    def __init_subclass__(cls, *, code: str | None = None, status: int | None = None) -> None:
        if code is not None:
            cls.of_code[code] = cls
        if status is not None:
            cls.of_status[status] = cls

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        advice: str = "",
        status: int = 0,
        retryable: bool = False,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.advice = advice
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.detail} {self.advice}".strip()


class Unreachable(RetouchProblem):
    """Raised when no answer comes for as long as the client retries."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            "unreachable",
            f"No answer from {url} ({cause}).",
            advice="Start a server with `retouch up`, or set RETOUCH_URL to one that runs.",
            retryable=True,
        )


class UnexpectedAnswer(RetouchProblem):
    """Raised when the answer is not from retouch but from another server or a proxy in between."""

    def __init__(self, url: str, status: int, what: str) -> None:
        super().__init__(
            "unexpected_answer",
            f"{url} answered {status} {what}.",
            advice="Is this address a retouch server? A proxy in between may be answering.",
            status=status,
        )


class Damaged(RetouchProblem):
    """Raised when the bytes of a picture do not match the service's checksum."""

    def __init__(self) -> None:
        super().__init__(
            "damaged_download",
            "The picture was damaged during the transfer.",
            advice="Fetch it again.",
            retryable=True,
        )


class WaitTimeout(RetouchProblem, TimeoutError):
    """Raised when a job has not ended within the timeout of `wait`. The job continues."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(
            "wait_timeout",
            f"Job {job_id} has not ended within {seconds:g} s.",
            advice="It continues: wait for it again, or cancel it.",
            retryable=True,
        )


class JobCanceled(RetouchProblem):
    """Raised when the job that was waited for was canceled."""

    def __init__(self, detail: str = "The job was canceled.") -> None:
        super().__init__("canceled", detail)


# By status. A code unknown to this version gets the class of its status.


class BadRequest(RetouchProblem, status=400):
    """The request is malformed."""


class Unauthenticated(RetouchProblem, status=401, code="unauthenticated"):
    """The request carries no key, or one that the service does not know."""


class Forbidden(RetouchProblem, status=403, code="forbidden"):
    """The key is known, but may not do this."""


class NotFound(RetouchProblem, status=404, code="not_found"):
    """Nothing has this name or address."""


class MethodNotAllowed(RetouchProblem, status=405, code="method_not_allowed"):
    """The address does not support this method."""


class Conflict(RetouchProblem, status=409):
    """The state of the job or another request prevents it."""


class Gone(RetouchProblem, status=410):
    """It existed and has expired."""


class PayloadTooLarge(RetouchProblem, status=413, code="payload_too_large"):
    """The upload has more bytes than the service accepts."""


class UnsupportedMediaType(RetouchProblem, status=415, code="unsupported_media_type"):
    """The upload is not a picture in a supported format."""


class Unprocessable(RetouchProblem, status=422):
    """The request is well formed, but its picture or its fields cannot be used."""


class RateLimited(RetouchProblem, status=429, code="rate_limited"):
    """The caller has exceeded its rate or its number of jobs, uploads or followers."""


class ServerError(RetouchProblem, status=500):
    """The service, or a proxy in front of it, failed."""


class Unavailable(ServerError, status=503):
    """The service cannot do it now; the same request may succeed later."""


# By code.


class MalformedMultipart(BadRequest, code="malformed_multipart"):
    """The body is not the form that it claims to be."""


class MalformedRequest(BadRequest, code="malformed_request"):
    """The data is not HTTP, or arrived too slowly."""


class LoraBaseMismatch(BadRequest, code="lora_base_mismatch"):
    """The LoRA was made for another base model."""


class JobNotFound(NotFound, code="job_not_found"):
    """No job of this caller has this id."""


class LoraNotFound(NotFound, code="lora_not_found"):
    """No LoRA has this name."""


class ImageNotFound(NotFound, code="image_not_found"):
    """No uploaded picture has this id, or it has expired."""


class UpscalerNotFound(NotFound, code="upscaler_not_found"):
    """No enlarger has this name."""


class NotFinished(Conflict, code="not_finished"):
    """The job has no result yet."""


class AlreadyFinished(Conflict, code="already_finished"):
    """The job is over and cannot be canceled."""


class Superseded(Conflict, code="superseded"):
    """A newer preview of the same session has superseded this one."""


class IdempotencyInFlight(Conflict, code="idempotency_in_flight"):
    """The first request with this idempotency key is still being received."""


class LoraChanged(Conflict, code="lora_changed"):
    """The LoRA's file is no longer the one that was checked."""


class UpscalerChanged(Conflict, code="upscaler_changed"):
    """The enlarger's file was replaced or removed while the job waited."""


class ResultExpired(Gone, code="result_expired"):
    """The job's picture has expired."""


class AnimatedImage(UnsupportedMediaType, code="animated_image"):
    """The upload has more than one frame."""


class ValidationFailed(Unprocessable, code="validation_error"):
    """Fields are unknown, outside their range, or contradictory."""


class InvalidImage(Unprocessable, code="invalid_image"):
    """The picture cannot be decoded."""


class ImageTruncated(Unprocessable, code="image_truncated"):
    """The picture's data is incomplete."""


class ImageTooLarge(Unprocessable, code="image_too_large"):
    """The picture has more pixels than the service accepts."""


class ImageTooSmall(Unprocessable, code="image_too_small"):
    """The picture's side is too short; `force=True` may help."""


class ImageTooBlurry(Unprocessable, code="image_too_blurry"):
    """The picture has too little detail; `force=True` sends it anyway."""


class ImageTooDark(Unprocessable, code="image_too_dark"):
    """The picture is too dark; `force=True` sends it anyway."""


class ImageBlank(Unprocessable, code="image_blank"):
    """The picture has only one colour."""


class LoraQuarantined(Unprocessable, code="lora_quarantined"):
    """The LoRA is quarantined because of its structure or its content."""


class LoraCorrupt(Unprocessable, code="lora_corrupt"):
    """The LoRA's weights cannot be loaded into the base."""


class UpscalerUnusable(Unprocessable, code="upscaler_unusable"):
    """The named file is not a usable enlarger, or cannot do what is asked."""


class UpscalerCorrupt(Unprocessable, code="upscaler_corrupt"):
    """The enlarger's weights cannot be loaded, or make no picture."""


class IdempotencyKeyReuse(Unprocessable, code="idempotency_key_reuse"):
    """The idempotency key belongs to another request."""


class UnsafeInput(Unprocessable, code="unsafe_input"):
    """The photo is too unsafe to process."""


class UnsafeOutput(Unprocessable, code="unsafe_output"):
    """The finished picture is unsafe to show."""


class WatermarkInOutput(Unprocessable, code="watermark_in_output"):
    """The model put a code, an address or a watermark into the picture."""


class CrashedTooOften(ServerError, code="crashed_too_often"):
    """The job has crashed its worker as often as is allowed."""


class InternalError(ServerError, code="internal_error"):
    """An unexpected failure of the service; its log has the details."""


class Overloaded(Unavailable, code="overloaded"):
    """The gateway has reached its limit of connections, uploads or followers."""


class QueueFull(Unavailable, code="queue_full"):
    """The queue has reached its limit of waiting jobs."""


class StorageFull(Unavailable, code="storage_full"):
    """The service has no room for another job."""


class StoreUnavailable(Unavailable, code="store_unavailable"):
    """The service's store does not answer."""


class NoWorker(Unavailable, code="no_worker"):
    """No worker is alive."""


class OutOfMemory(Unavailable, code="out_of_memory"):
    """The worker's device cannot hold the job."""


class StepTimeout(Unavailable, code="step_timeout"):
    """A step of the job did not end in time."""
