"""`retouch mcp`: the service as tools for an assistant, on stdin and stdout."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from retouch.address import find_address
from retouch.async_client import AsyncClient
from retouch.console import language
from retouch.interrupts import Interrupts
from retouch.server_packages import server_packages
from retouch.service import service


def mcp(
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder whose photos may be read and written; repeatable. Default: here."
        ),
    ] = None,
) -> None:
    """Serve the Model Context Protocol on stdin and stdout, with photos named by their paths."""
    with server_packages("The Model Context Protocol"):
        from retouch.mcp_server import serve
    with Interrupts() as interrupts, service(interrupts) as client:

        async def answer() -> None:
            key = find_address().api_key
            async with AsyncClient(client.url, key, language()) as connection:
                await serve(connection, allow or [Path.cwd()])

        asyncio.run(answer())
