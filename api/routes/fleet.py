"""Facts about this deployment: capabilities, workers, health, readiness, metrics."""

from collections.abc import Callable
from importlib.metadata import version

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.access.guard import LanguageDep, Reader, Scraper, ServicesDep
from api.routes.loras import CALLER_PROBLEMS
from api.services import Services
from api.wire.presenter import base_view
from api.wire.problems import problem_response, problems
from api.wire.schemas import (
    Capabilities,
    FormatsView,
    Health,
    LimitsView,
    Readiness,
    WorkerList,
    WorkerView,
)
from shared.errors import NoWorker, RetouchError
from shared.formats import INPUT_FORMATS, OUTPUT_FORMATS

OK = "ok"
NOT_DURABLE = "no_append_only_file"
MAX_STEPS = 50
MAX_PROMPT_CHARACTERS = 1000

router = APIRouter(tags=["fleet"])


@router.get(
    "/v1/capabilities",
    operation_id="getCapabilities",
    summary="Bases, limits, formats, workers, versions",
    responses=problems(*CALLER_PROBLEMS, "store_unavailable"),
)
def get_capabilities(services: ServicesDep, caller: Reader) -> Capabilities:
    del caller
    bases = services.roster.candidates()
    return Capabilities(
        base=base_view(bases[0]),
        bases=[base_view(one) for one in bases],
        limits=_limits(services),
        formats=FormatsView(input=list(INPUT_FORMATS), output=list(OUTPUT_FORMATS)),
        image_urls=services.settings.image_urls,
        workers=sum(one.workers for one in bases),
        versions={"retouch": version("retouch"), "api": "v1"},
    )


@router.get(
    "/v1/workers",
    operation_id="listWorkers",
    summary="Every worker with a recent heartbeat",
    responses=problems(*CALLER_PROBLEMS, "store_unavailable"),
)
def get_workers(services: ServicesDep, caller: Reader) -> WorkerList:
    del caller
    workers = services.fleet.workers()
    return WorkerList(items=[WorkerView(**worker.model_dump()) for worker in workers])


@router.get("/healthz", operation_id="isAlive", summary="The process is alive")
async def healthz() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    operation_id="isReady",
    summary="The gateway accepts jobs: the store answers, the disk has space",
    response_model=Readiness,
    responses=problems("store_unavailable", "storage_full"),
)
def readyz(request: Request, services: ServicesDep, language: LanguageDep) -> Response:
    """A fleet may have no worker for a while and still accepts jobs: then `checks.worker` is
    `no_worker`, and the answer is 200.
    """
    needed = {name: _outcome(check, services) for name, check in _CHECKS.items()}
    # A store that does not answer would cost the same wait once more for each detail.
    away = needed["store"] if needed["store"] != OK else None
    known = {name: away or _outcome(check, services) for name, check in _DETAILS.items()}
    checks = needed | known
    for code in needed.values():
        if code != OK:
            return problem_response(request, code, language, checks=checks)
    body = Readiness(ready=True, checks=checks, unserved=_unserved(services)).model_dump_json()
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=problems("unauthenticated", "forbidden"),
)
def get_metrics(request: Request, services: ServicesDep, caller: Scraper) -> Response:
    del caller
    default = services.roster.default_name
    text = request.app.state.metrics.render(services.store, services.fleet, default)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _has_worker(services: Services) -> None:
    if not services.roster.served():
        raise NoWorker()


def _unserved(services: Services) -> dict[str, int]:
    """Waiting jobs by base, for bases without a worker."""
    try:
        return services.store.unserved(one.name for one in services.roster.served())
    except RetouchError:
        return {}


def _store_answers(services: Services) -> None:
    services.store.ping()


def _has_room(services: Services) -> None:
    services.images.check_room()


def _is_durable(services: Services) -> str | None:
    return None if services.store.is_durable() else NOT_DURABLE


Check = Callable[[Services], str | None]
# Without these the gateway accepts nothing.
_CHECKS: dict[str, Check] = {"store": _store_answers, "disk": _has_room}
_DETAILS: dict[str, Check] = {"worker": _has_worker, "persistence": _is_durable}


def _outcome(check: Check, services: Services) -> str:
    try:
        return check(services) or OK
    except RetouchError as error:
        return error.code


def _limits(services: Services) -> LimitsView:
    settings = services.settings
    return LimitsView(
        max_upload_bytes=settings.max_upload_bytes,
        max_pixels=settings.max_pixels,
        max_result_pixels=settings.max_result_pixels,
        min_side=settings.min_side,
        max_side=settings.max_side,
        max_loras=settings.max_loras,
        max_lora_scale=settings.max_lora_scale,
        max_steps=MAX_STEPS,
        max_prompt_characters=MAX_PROMPT_CHARACTERS,
        queue_limit=settings.queue_limit,
        rate_limit=settings.rate_limit,
    )
