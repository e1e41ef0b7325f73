"""Serves the page's files: compressed if the browser accepts it, with a policy of their own.

Owns how long a file may be cached and what a script may do. The script of a web worker has the
policy of its own answer, so that WebAssembly is allowed there and nowhere else.
"""

import gzip
import os
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parents[1] / "static"

# Revalidated by entity tag each time: one page must never mix modules of two versions.
FRESH = "no-cache"
# A folder whose name contains the hash of its contents never changes.
KEPT = "public, max-age=31536000, immutable"
EXTRA = STATIC / "extra"
PACKED_KINDS = frozenset({".js", ".mjs", ".css", ".html", ".svg", ".json", ".webmanifest"})
# COEP lets the page use threads; Chromium requires it for the worker's script too.
ISOLATED = {"Cross-Origin-Embedder-Policy": "require-corp"}
WORKER_POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'"
    ),
    **ISOLATED,
}


class PageFiles(StaticFiles):
    """The page's scripts and styles, and the optional files downloaded at install."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        path = Path(full_path)
        response = super().file_response(full_path, stat_result, scope, status_code)
        if response.status_code == 200:
            response = packed(path, stat_result, response, Headers(scope=scope))
        response.headers["Cache-Control"] = KEPT if path.is_relative_to(EXTRA) else FRESH
        response.headers.add_vary_header("Accept-Encoding")
        if path.suffix == ".mjs" or path.name.endswith("-worker.js"):
            response.headers.update(WORKER_POLICY)
        return response


def page(name: str, headers: Headers, media_type: str | None = None) -> Response:
    """One file of the page's own level. `headers` are the request's."""
    path = STATIC / name
    stat = path.stat()
    plain = FileResponse(path, stat_result=stat, media_type=media_type)
    response = packed(path, stat, plain, headers)
    response.headers["Cache-Control"] = FRESH
    response.headers.add_vary_header("Accept-Encoding")
    return response


def worker_script(name: str, headers: Headers) -> Response:
    """A service worker's script: it may request this service's files and nothing else."""
    response = page(name, headers)
    response.headers["Content-Security-Policy"] = "default-src 'none'; connect-src 'self'"
    return response


def shell() -> dict[str, Any]:
    """The files without which the page does not open, with a version that changes with any of
    them.
    """
    paths = sorted(path for path in STATIC.rglob("*") if path.is_file() and _is_shell(path))
    stamp = sha256()
    for path in paths:
        stamp.update(path.name.encode() + path.read_bytes())
    files = [f"static/{path.relative_to(STATIC).as_posix()}" for path in paths]
    return {
        "version": stamp.hexdigest()[:16],
        "files": ["", "extras.json", "app.webmanifest", *files],
    }


def _is_shell(path: Path) -> bool:
    own = path.relative_to(STATIC)
    return own.parts[0] != EXTRA.name and own.suffix not in {".html", ".json", ".webmanifest"}


def packed(path: Path, stat: os.stat_result, plain: Response, request: Headers) -> Response:
    """Returns the answer in gzip, or unchanged if gzip is not accepted or not worthwhile."""
    if "gzip" not in request.get("accept-encoding", "") or "range" in request:
        return plain
    beside = path.with_name(path.name + ".gz")
    body: Response
    if beside.is_file():
        body = FileResponse(beside, media_type=plain.media_type)
    elif path.suffix in PACKED_KINDS:
        body = Response(_gzipped(path, stat.st_mtime_ns), media_type=plain.media_type)
    else:
        return plain
    body.headers["Content-Encoding"] = "gzip"
    # Weak, since two encodings share it.
    body.headers["ETag"] = f"W/{plain.headers['etag']}"
    return body


@lru_cache(maxsize=128)
def _gzipped(path: Path, modified_ns: int) -> bytes:
    del modified_ns  # part of the cache key: an edited file is compressed again
    return gzip.compress(path.read_bytes(), 9, mtime=0)
