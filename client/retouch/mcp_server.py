"""The Model Context Protocol on stdio: the tools of `/mcp`, with photos named by their paths.

Owns which files may be read and written: those under the folders of `--allow`, with links resolved.
Needs the `mcp` package. Talks to the service over HTTP, as every command does.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent
from pydantic import Field

from retouch.async_client import AsyncClient
from retouch.files import EXTENSIONS, NOT_MADE, format_of, free_path
from retouch.job_fields import PictureFormat
from retouch.problems import RetouchProblem
from retouch.records import Job, Progress

MOST_INLINE_BYTES = 512 * 2**10
INSTRUCTIONS = (
    "Makes photos better: sharper, cleaner, larger. enhance_photo takes a photo's path and writes "
    "the better picture beside it."
)

Photo = Annotated[str, Field(description="Path of a photo, inside an allowed folder.")]
Output = Annotated[
    str | None,
    Field(
        description="Where to write the result: a folder or a new file. Its extension, .png, .jpg "
        "or .webp, decides the format; without one, the photo's."
    ),
]
JobId = Annotated[str, Field(description="A job's id.", max_length=64)]
Ctx = Context[Any, Any]


class Allowed:
    """The folders whose files the tools may use."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = [folder.expanduser().resolve() for folder in folders]

    def photo(self, text: str) -> Path:
        """A photo's path with its links resolved; a relative one is looked for in every folder.

        Raises ToolError if there is no such file, or if it is outside every folder.
        """
        paths = [self.path(text, folder) for folder in self._folders]
        found = next((path for path in paths if path.is_file()), None)
        if found is None:
            raise ToolError("there is no such file")
        return found

    def path(self, text: str, folder: Path) -> Path:
        """A path, which may be relative to this folder, with its links resolved. Raises ToolError
        if it is outside every allowed folder.
        """
        try:
            path = (folder / Path(text).expanduser()).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise ToolError("this is not a path") from error
        if not any(path.is_relative_to(folder) for folder in self._folders):
            raise ToolError(
                "this path is outside the allowed folders; start with: retouch mcp --allow DIR"
            )
        return path


@dataclass(frozen=True)
class Target:
    """The file to write. Without a `format` its extension is added once the format is known."""

    path: Path
    format: PictureFormat | None = None

    def of(self, job: Job) -> Path:
        if self.format is not None:
            return self.path
        return free_path(self.path, EXTENSIONS[job.picture_format])


class Tools:
    """The tools over one client."""

    def __init__(self, client: AsyncClient, allowed: Allowed) -> None:
        self._client = client
        self._allowed = allowed

    async def enhance_photo(
        self,
        ctx: Ctx,
        path: Photo,
        output: Output = None,
        lora: Annotated[str, Field(description="A LoRA's name, auto, or none.")] = "auto",
        strength: Annotated[float | None, Field(description="0.05 to 1.")] = None,
        upscale: Annotated[str, Field(description="auto, 1, 2, 3 or 4.")] = "auto",
        prompt: str | None = None,
        seed: int | None = None,
    ) -> CallToolResult:
        """Enhance a photo, write the picture and return it; progress is its percentage."""
        source = self._allowed.photo(path)
        target = self._target(source, output)
        given = {"lora": lora, "strength": strength, "upscale": upscale}
        given |= {"prompt": prompt, "seed": seed, "format": target.format}
        fields: Any = {name: value for name, value in given.items() if value is not None}
        try:
            return await self._enhanced(ctx, source, target, fields)
        except RetouchProblem as problem:
            raise _in_words(problem) from problem
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ToolError(f"{error.filename or source}: {why}") from error

    async def list_loras(self) -> dict[str, Any]:
        """List the LoRAs that enhance_photo can apply; unusable ones with the reason."""
        try:
            items = await self._client.loras()
        except RetouchProblem as problem:
            raise _in_words(problem) from problem
        return {"loras": [item.model_dump(mode="json") for item in items]}

    async def get_job(self, job_id: JobId) -> dict[str, Any]:
        """Show the current state of a job."""
        try:
            job = await self._client.job(job_id)
        except RetouchProblem as problem:
            raise _in_words(problem) from problem
        return job.model_dump(mode="json")

    async def cancel_job(self, job_id: JobId) -> dict[str, Any]:
        """Cancel a job: a waiting one at once, a running one at its next step."""
        try:
            await self._client.cancel(job_id)
        except RetouchProblem as problem:
            raise _in_words(problem) from problem
        return {"state": (await self.get_job(job_id))["state"]}

    def _target(self, source: Path, output: str | None) -> Target:
        """Where to write. Raises ToolError for a file that exists: a photo is never replaced."""
        if output is None:
            return Target(source.with_name(f"{source.stem}_enhanced"))
        path = self._allowed.path(output, source.parent)
        if path.is_dir():
            return Target(path / source.stem)
        if path.suffix.lower() in NOT_MADE:
            raise ToolError(f"{path.suffix} files are not produced; use .png, .jpg or .webp")
        if path.exists():
            raise ToolError("there is a file already; give another output")
        if not path.parent.is_dir():
            raise ToolError(f"there is no folder {path.parent}")
        return Target(path, format_of(path))

    async def _enhanced(
        self, ctx: Ctx, source: Path, target: Target, fields: Any
    ) -> CallToolResult:
        job = await self._client.submit(source, **fields)
        try:
            await self._follow(ctx, job.id)
            job = await self._client.wait(job)
        except BaseException:
            # The call was canceled or the host is gone: nobody waits for the job any more.
            await self._give_up(job.id)
            raise
        path = await self._client.save(job, target.of(job))
        more = _picture(path, job.picture_format)
        facts = job.model_dump(mode="json") | {"path": str(path)}
        content = [TextContent(text=f"Written to {path}"), more]
        return CallToolResult(content=content, structured_content=facts)

    async def _follow(self, ctx: Ctx, job_id: str) -> None:
        told = -1.0
        async for event in self._client.events(job_id):
            if event.kind != "progress":
                continue
            progress = Progress.model_validate(event.data)
            if progress.percent > told:
                told = progress.percent
                await ctx.report_progress(told, 100.0, progress.message)

    async def _give_up(self, job_id: str) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await self._client.cancel(job_id)
            except RetouchProblem:
                return


async def serve(client: AsyncClient, folders: list[Path]) -> None:
    """Answers on stdin and stdout until they close."""
    tools = Tools(client, Allowed(folders))
    server: MCPServer[Any] = MCPServer("retouch", instructions=INSTRUCTIONS, log_level="ERROR")
    for tool in (tools.enhance_photo, tools.list_loras, tools.get_job, tools.cancel_job):
        server.add_tool(tool)
    await server.run_stdio_async()


def _picture(path: Path, picture_format: PictureFormat) -> ImageContent | ResourceLink:
    data, kind = path.read_bytes(), f"image/{picture_format}"
    if len(data) > MOST_INLINE_BYTES:
        return ResourceLink(name=path.name, uri=path.as_uri(), mime_type=kind, size=len(data))
    return ImageContent(data=base64.b64encode(data).decode(), mime_type=kind)


def _in_words(problem: RetouchProblem) -> ToolError:
    return ToolError(f"{problem.detail} {problem.advice or ''}".strip())
