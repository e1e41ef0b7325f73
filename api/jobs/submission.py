"""From a checked form and a stored picture to a job in the ledger.

Owns the order: choose the base, pin LoRAs, fill in missing values, record the job, send a hint to
its workers.
"""

from dataclasses import dataclass
from uuid import uuid4

import structlog
from opentelemetry.trace import SpanKind
from structlog.contextvars import get_contextvars

from api.access.keys import Caller
from api.intake.masks import AcceptedMask
from api.jobs.enlarging import settle_size, settle_upscaler
from api.jobs.job_form import JobForm, repeated_lora
from api.jobs.prompt_loras import PromptLoras
from api.jobs.roster import Roster
from api.jobs.routing import Routing
from api.wire.errors import InvalidFields
from shared.defaults import with_defaults
from shared.errors import QueueFull, StoreUnavailable
from shared.formats import settled_format
from shared.jobs import MASKS_SINCE, SAMPLERS_SINCE, JobSpec, Source
from shared.ledger.queue import Hints
from shared.ledger.records import Idempotency
from shared.ledger.store import JobStore
from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry
from shared.messages import Language
from shared.params import DEFAULT_SAMPLER, JobParams, LoraMode, LoraRef
from shared.settings import Settings
from shared.tracing import span, traceparent
from shared.upscalers.catalog import UpscalerCatalog

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Submitted:
    """The job for a request; `replayed` if an earlier request made it."""

    job_id: str
    replayed: bool


class Submissions:
    """Turns requests into jobs. Called from threads."""

    def __init__(
        self,
        store: JobStore,
        hints: Hints,
        catalog: Catalog,
        upscalers: UpscalerCatalog,
        roster: Roster,
        settings: Settings,
    ) -> None:
        self._store = store
        self._hints = hints
        self._upscalers = upscalers
        self._settings = settings
        self._roster = roster
        self._routing = Routing(roster, catalog)
        self._prompt_loras = PromptLoras(catalog, settings)

    def check_queue(self) -> int:
        """For how many more jobs there is room. Raises QueueFull or StoreUnavailable before any
        work is spent on a request.
        """
        sizes = [self._store.queue_size(base.name) for base in self._roster.candidates()]
        room = self._settings.queue_limit - min(sizes, default=0)
        if room <= 0:
            raise QueueFull()
        return room

    def settle(self, form: JobForm, language: Language) -> JobParams:
        """Chooses the base, and completes the parameters that do not depend on the picture.

        Raises StoreUnavailable, LoraNotFound, LoraBaseMismatch, LoraQuarantined, InvalidFields,
        UpscalerNotFound, UpscalerUnusable.
        """
        params = settle_upscaler(form.params.with_seed(), self._upscalers)
        route = self._routing.route(params, language)
        base, entries = route.base, route.entries
        if len({entry.path for entry in entries}) < len(entries):
            raise InvalidFields([repeated_lora(language)])
        pinned = [
            _pinned(ref, entry, form.unscaled)
            for ref, entry in zip(params.loras, entries, strict=True)
        ]
        params = params.model_copy(update={"loras": pinned, "base": base.name})
        params, entries = self._prompt_loras.take(params, entries, language, base.family)
        if params.lora_mode is LoraMode.AUTO:
            return params.model_copy(update={"elsewhere": self._routing.elsewhere(route)})
        return with_defaults(params, entries, base.base)

    def submit(
        self,
        params: JobParams,
        source: Source,
        caller: Caller,
        language: Language,
        idempotency: Idempotency | None,
        most_live: int = 0,
        mask: AcceptedMask | None = None,
    ) -> Submitted:
        """Records the job and sends a hint to the workers.

        Raises QueueFull, RateLimited, IdempotencyKeyReuse, StoreUnavailable, StorageFull, and
        ImageTooLarge if the result would be too large.
        """
        size = source.width, source.height
        params = settle_size(params, size, self._settings, self._upscalers)
        spec = JobSpec(
            id=uuid4().hex,
            client=caller.name,
            base=params.base or self._roster.default.name,
            source=_warned(source, mask),
            params=_with_format(params, source),
            language=language,
            needs=_needs(params, mask),
            mask=mask.mask if mask else None,
            request=str(get_contextvars().get("request", "")),
            trace=traceparent(),
            sender=caller.sender,
        )
        job_id = self._store.submit(spec, idempotency, most_live)
        if job_id != spec.id:
            return Submitted(job_id, replayed=True)
        logger.info("job accepted", job=job_id)
        try:
            with span("hint", kind=SpanKind.PRODUCER):
                self._hints.send(job_id, params.priority, spec.base)
        except StoreUnavailable as error:
            # The job is in the ledger, so the reaper will send another hint.
            logger.warning("hint not sent", job=job_id, reason=str(error))
        return Submitted(job_id, replayed=False)


def _needs(params: JobParams, mask: AcceptedMask | None) -> int:
    if mask is not None:
        return MASKS_SINCE
    return 1 if params.sampler in (None, DEFAULT_SAMPLER) else SAMPLERS_SINCE


def _warned(source: Source, mask: AcceptedMask | None) -> Source:
    if mask is None or not mask.is_empty:
        return source
    return source.model_copy(update={"warnings": [*source.warnings, "mask_empty"]})


def _with_format(params: JobParams, source: Source) -> JobParams:
    side = max(source.width, source.height)
    chosen = settled_format(params.format, source.format, source.has_alpha, side)
    return params.model_copy(update={"format": chosen})


def _pinned(ref: LoraRef, entry: LoraEntry, unscaled: frozenset[str]) -> LoraRef:
    scale = entry.default_scale if ref.name in unscaled else ref.scale
    return LoraRef(name=entry.name, scale=scale, sha256=entry.sha256)
