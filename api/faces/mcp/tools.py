"""The tools of the protocol: enhance_photo, list_loras, get_job, cancel_job.

Owns their arguments and answers. An error is returned as the tool's result, with the same message
as in every other route.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from api.access.guard import check_scope, who
from api.access.keys import Caller
from api.access.keys import Scope as KeyScope
from api.intake.accepted import Accepted
from api.jobs.entrance import accept_picture, ask, entering, submit
from api.jobs.fetching import NotFetched
from api.jobs.follow import Snapshot
from api.jobs.ownership import owned_job
from api.jobs.waiting import awaited
from api.services import Services
from api.wire.addresses import absolute
from api.wire.errors import language_of, refusal
from api.wire.presenter import error_view, job_view, lora_view
from api.wire.sentence import Sentence
from shared.errors import InvalidImage, NotFinished, RetouchError
from shared.jobs import EventKind, Job
from shared.messages import Language
from shared.params import MEDIA_TYPES

CALLER, SERVICES = "retouch.caller", "retouch.services"
# Larger pictures are returned as a link: clients read events of up to a megabyte, including base64.
MOST_INLINE_BYTES = 512 * 2**10
INSTRUCTIONS = (
    "Makes photos better: sharper, cleaner, larger. enhance_photo takes the id of an uploaded "
    "picture (POST /v1/images) or an https address, and returns the better picture."
)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Image = Annotated[str, Field(description="Id of an upload, or an https address of a photo.")]
JobId = Annotated[str, Field(description="A job's id.", max_length=64)]


def make_server() -> MCPServer[Any]:
    """The server with its tools."""
    server: MCPServer[Any] = MCPServer("retouch", instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in (enhance_photo, list_loras, get_job, cancel_job):
        server.add_tool(tool)
    return server


def _in_words(
    tool: Callable[Arguments, Awaitable[Answer]],
) -> Callable[Arguments, Awaitable[Answer]]:
    """Turns an error into the tool's error, with its message and advice."""

    @wraps(tool)
    async def done(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return await tool(*args, **kwargs)
        except RetouchError as error:
            context = next(item for item in kwargs.values() if isinstance(item, Context))
            raise ToolError(_sentence(_request(context), error)) from error

    return done


@_in_words
async def enhance_photo(
    ctx: Context[Any, Any],
    image: Image,
    lora: Annotated[str, Field(description="A LoRA's name, auto, or none.")] = "auto",
    strength: Annotated[float | None, Field(description="0.05 to 1.")] = None,
    upscale: Annotated[str, Field(description="auto, 1, 2, 3 or 4.")] = "auto",
    prompt: str | None = None,
    seed: int | None = None,
    format: Annotated[str, Field(description="auto (as the photo), png, jpeg or webp.")] = "auto",
) -> CallToolResult:
    """Enhance a photo and return the picture; progress is its true percentage."""
    request, services, caller = _parts(ctx, KeyScope.SUBMIT)
    language = language_of(request)
    given = {"lora": lora, "strength": strength, "upscale": upscale, "prompt": prompt}
    given |= {"seed": seed, "format": format}
    fields = tuple((name, str(value)) for name, value in given.items() if value is not None)
    limits = who(request, caller), caller.rate, True
    await run_in_threadpool(services.rate.check, *limits)
    async with entering(services, caller):
        asked = await ask(services, fields, language)
        picture = await _picture(services, caller, image)
        made = await submit(services, caller, asked, picture, language)
    async with awaited(services, [made.job_id]):
        await _follow(ctx, services, caller, made.job_id)
    job = await run_in_threadpool(services.store.get, made.job_id)
    return await run_in_threadpool(_result, request, services, job)


@_in_words
async def list_loras(ctx: Context[Any, Any]) -> dict[str, Any]:
    """List the LoRAs that enhance_photo can apply; unusable ones with the reason."""
    request, services, _ = _parts(ctx, KeyScope.READ)
    language = language_of(request)
    return {"loras": await run_in_threadpool(_loras, services, language)}


def _loras(services: Services, language: Language) -> list[dict[str, Any]]:
    entries, serving = services.catalog.entries(), services.roster.serving_quietly
    views = (lora_view(one, serving(one.base), language) for one in entries)
    return [view.model_dump(mode="json") for view in views]


@_in_words
async def get_job(ctx: Context[Any, Any], job_id: JobId) -> dict[str, Any]:
    """Show the current state of one of the caller's jobs."""
    request, services, caller = _parts(ctx, KeyScope.READ)
    job = await run_in_threadpool(owned_job, services.store, job_id, caller.name)
    return job_view(job, language_of(request)).model_dump(mode="json")


@_in_words
async def cancel_job(ctx: Context[Any, Any], job_id: JobId) -> dict[str, Any]:
    """Cancel one of the caller's jobs: a waiting one at once, a running one at its next step."""
    _, services, caller = _parts(ctx, KeyScope.SUBMIT)
    await run_in_threadpool(owned_job, services.store, job_id, caller.name)
    return {"state": str(await run_in_threadpool(services.store.cancel, job_id))}


async def _picture(services: Services, caller: Caller, image: str) -> Accepted:
    if "://" not in image:
        return await run_in_threadpool(services.images.find, image, caller.name)
    try:
        data = await services.fetcher.fetch(image)
    except NotFetched as error:
        reason = error.reason
        raise InvalidImage(Sentence(f"the address {reason}", f"图片地址{reason.zh}")) from error
    return await accept_picture(services, caller, lambda: data)


async def _follow(ctx: Context[Any, Any], services: Services, caller: Caller, job_id: str) -> None:
    start = await services.followers.start(caller.name, job_id, None, caller.place)
    told = -1.0
    async for item in services.followers.follow(start):
        if isinstance(item, Snapshot) or getattr(item, "kind", None) is not EventKind.PROGRESS:
            continue
        percent = float(item.data.get("percent", 0.0))  # type: ignore[union-attr]
        if percent > told:
            told = percent
            stage = item.data.get("stage") or ""  # type: ignore[union-attr]
            await ctx.report_progress(percent, 100.0, str(stage))


def _result(request: Request, services: Services, job: Job) -> CallToolResult:
    facts = job_view(job, language_of(request)).model_dump(mode="json")
    if job.failure is not None:
        view = error_view(job.failure, language_of(request))
        return _answer(f"{view.message} {view.advice}", facts, is_error=True)
    if job.result is None:
        return _answer(f"The job {job.state}, so it has no picture.", facts, is_error=True)
    result, kind = job.result, MEDIA_TYPES[job.result.format]
    said = f"{job.spec.source.width} x {job.spec.source.height} -> {result.width} x {result.height}"
    address = absolute(request, facts["links"]["image"])
    if result.size_bytes > MOST_INLINE_BYTES:
        link = ResourceLink(
            name=f"retouch-{job.id[:8]}.{result.format}",
            uri=address,
            mime_type=kind,
            size=result.size_bytes,
        )
        return _answer(said, facts, link)
    data = base64.b64encode(services.blobs.get(result.blob)).decode()
    return _answer(said, facts, ImageContent(data=data, mime_type=kind))


def _answer(
    said: str, facts: dict[str, Any], *more: ContentBlock, is_error: bool = False
) -> CallToolResult:
    content = [TextContent(text=said), *more]
    return CallToolResult(content=content, structured_content=facts, is_error=is_error)


def _parts(ctx: Context[Any, Any], scope: KeyScope) -> tuple[Request, Services, Caller]:
    request = _request(ctx)
    caller: Caller = request.scope[CALLER]
    check_scope(caller, scope)
    return request, request.scope[SERVICES], caller


def _request(ctx: Context[Any, Any]) -> Request:
    request = ctx.request_context.request
    if not isinstance(request, Request):
        raise NotFinished("the protocol's request is not an HTTP request")
    return request


def _sentence(request: Request, error: RetouchError) -> str:
    problem = json.loads(bytes(refusal(request, error).body))
    return f"{problem['detail']} {problem['advice']} ({problem['code']})"
