"""A stand-in for the Hugging Face hub: the routes by which its client lists and downloads files.

GET /api/models/ID[/revision/REV|/tree/REV], GET and HEAD /ID/resolve/REV/FILE
(https://huggingface.co/docs/hub/api). Can interrupt a download once, to test resuming.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.support.http_servers import Quiet, running

COMMIT = "c" * 40


class Hub(ThreadingHTTPServer):
    """Serves `files`, by hub id and name; the first answer is cut off after `cut_after` bytes."""

    daemon_threads = True

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.cut_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running_hub(files: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    with running(Hub(files)) as hub:
        yield hub


class _Handler(Quiet):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]), as_tree="tree" in parts[4:])
        else:
            self._send_file("/".join(parts[:2]), "/".join(parts[4:]), with_body)

    def _describe(self, hub_id: str, as_tree: bool) -> None:
        if hub_id not in self.server.files:
            self._refuse("RepoNotFound")
            return
        files = self.server.files[hub_id]
        body: object = {
            "id": hub_id,
            "sha": COMMIT,
            "siblings": [{"rfilename": name} for name in files],
        }
        if as_tree:
            body = [
                {"type": "file", "path": name, "size": len(data), "oid": COMMIT}
                for name, data in files.items()
            ]
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send_file(self, hub_id: str, name: str, with_body: bool) -> None:
        data = self.server.files.get(hub_id, {}).get(name)
        if data is None:
            self._refuse("EntryNotFound")
            return
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        asked = self.headers.get("Range")
        if asked and with_body:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[start:], headers)
            return
        self._send(200, data, headers, with_body)

    def _refuse(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code, "X-Error-Message": "not there"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self._write(body)

    def _write(self, body: bytes) -> None:
        cut = self.server.cut_after
        if cut is not None and len(body) > cut:
            self.server.cut_after = None
            self.wfile.write(body[:cut])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)
