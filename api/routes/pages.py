"""What people open in a browser: the page, the documentation, a page per problem."""

from html import escape
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

from api.problems import STATUS
from shared.errors import NotFound
from shared.messages import advice, title

STATIC = Path(__file__).parent.parent / "static"

router = APIRouter(include_in_schema=False)


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
    return FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})
