"""Addresses that people open in a browser: the page, the documentation, a page per problem."""

from html import escape

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.requests import Request

from api.server.page_files import EXTRA, FRESH, page, shell, worker_script
from api.wire.problems import STATUS
from shared.errors import NotFound
from shared.messages import advice, title

router = APIRouter(include_in_schema=False)


@router.get("/")
def get_page(request: Request) -> Response:
    return page("index.html", request.headers)


@router.get("/extras.json")
def get_extras() -> Response:
    """The address of the page's super-resolution; null if it was not installed."""
    headers = {"Cache-Control": FRESH}
    manifest = EXTRA / "manifest.json"
    if manifest.is_file():
        return FileResponse(manifest, media_type="application/json", headers=headers)
    return JSONResponse(None, headers=headers)


@router.get("/app.webmanifest")
def get_manifest(request: Request) -> Response:
    return page("app.webmanifest", request.headers, media_type="application/manifest+json")


@router.get("/offline-worker.js")
def get_offline_worker(request: Request) -> Response:
    """At the page's own level: a service worker serves what is below its address."""
    return worker_script("offline-worker.js", request.headers)


@router.get("/shell.json")
def get_shell() -> Response:
    """The files that the page needs to open without this service, and their version."""
    return JSONResponse(shell(), headers={"Cache-Control": FRESH})


@router.get("/docs")
def get_docs(request: Request) -> Response:
    return page("docs.html", request.headers)


@router.get("/problems/{code}")
def get_problem(code: str) -> HTMLResponse:
    if code not in STATUS:
        raise NotFound()
    parts = [
        f'<section lang="{language}"><h2>{escape(title(code, language))}</h2>'
        f"<p>{escape(advice(code, language))}</p></section>"
        for language in ("en", "zh")
    ]
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<link rel="stylesheet" href="../static/page.css"><title>{code}</title>'
        f"<main><h1><code>{code}</code> {STATUS[code]}</h1>{''.join(parts)}</main></html>"
    )
