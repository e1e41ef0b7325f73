"""An S3 server on this machine, and one that refuses as a real one does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.http_servers import Quiet, serving

BUCKET = "photos"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_REGION": "us-east-1"}


@contextmanager
def running_s3() -> Iterator[tuple[str, "boto3.client"]]:
    """The server's address and a client of it that is not ours; it has one bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=BUCKET)
    try:
        yield url, client
    finally:
        client.close()
        server.stop()


def lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the environment name this server and its keys."""
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": url}).items():
        monkeypatch.setenv(name, value)


@contextmanager
def refusing_s3(status: int, code: str, after: int = 0) -> Iterator[str]:
    """A server that answers with this error, after so many requests that it accepts."""
    seen = [0]

    class Handler(Quiet):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen[0] += 1
            if seen[0] <= after:
                self._answer(200, b"", ETag='"part"')
            else:
                self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            text = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())

        do_GET = do_HEAD = do_DELETE = do_PUT

        def _answer(self, number: int, body: bytes, **headers: str) -> None:
            self.send_response(number)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as url:
        yield url
