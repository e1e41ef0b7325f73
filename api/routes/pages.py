"""What people open in a browser: the page, the documentation, a page per problem."""

import os
from html import escape
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from api.problems import STATUS
from shared.errors import NotFound
from shared.messages import advice, title

STATIC = Path(__file__).parent.parent / "static"

# Asked for again by entity tag each time: modules of two versions must never meet in one page.
FRESH = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


class PageFiles(StaticFiles):
    """The page's scripts and styles."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(FRESH)
        return response


@router.get("/")
def get_page() -> Response:
    return _page("index.html")


@router.get("/docs")
def get_docs() -> Response:
    return _page("docs.html")


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
        f'<link rel="stylesheet" href="/static/page.css"><title>{code}</title>'
        f"<main><h1><code>{code}</code> {STATUS[code]}</h1>{''.join(parts)}</main></html>"
    )


def _page(name: str) -> FileResponse:
    return FileResponse(STATIC / name, headers=FRESH)
