"""Real worker processes for tests, and jobs put before them without a gateway."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from shared.blobs import BlobStore
from shared.jobs import JobSpec, Source
from shared.upscalers.catalog import UpscalerCatalog
from tests.support.jobs import make_spec
from worker.job.enlarging import Enlargements

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def running_worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process in its own group; SIGTERM at the end, SIGKILL if that does not suffice."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def picture(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    """A small noisy picture as lossless WebP, as the gateway stores it."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()


def without_upscalers(base: str = "tiny") -> Enlargements:
    """A worker's catalogue without any enlarger."""
    return Enlargements(UpscalerCatalog(Path("/nowhere")), base, "fake")


def spec_with_picture(blobs: BlobStore, data: bytes, **params: object) -> JobSpec:
    """A job whose source is stored, ready to be submitted."""
    width, height = Image.open(io.BytesIO(data)).size
    digest = sha256(data).hexdigest()
    blobs.put(f"sources/{digest}", data)
    source = Source(
        image_id=digest,
        blob=f"sources/{digest}",
        width=width,
        height=height,
        size_bytes=len(data),
    )
    return make_spec(**params).model_copy(update={"source": source})
