"""The whole of `retouch up` on a free port, for benchmarks that use it like clients."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image
from skimage import data

from retouch.stack.ports import free_port

# Loading a base on a busy machine takes minutes.
START_SECONDS = 600.0


@contextmanager
def running_service(
    folder: Path,
    environment: Mapping[str, str],
    *options: str,
    retouch: Path | None = None,
) -> Iterator[tuple[str, int]]:
    """The service's address and the id of its parent process, until the block ends. `retouch` is
    the command of another environment, and so of other code.
    """
    url = f"http://127.0.0.1:{(port := free_port())}"
    program = retouch or Path(sys.executable).with_name("retouch")
    asked = ["up", "--port", str(port), "--data-dir", str(folder / "data"), *options]
    with subprocess.Popen(
        [program, *asked], env=os.environ | environment, stdout=subprocess.DEVNULL
    ) as process:
        try:
            wait_for(f"{url}/readyz", has_worker, process=process)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(timeout=60)


def has_worker(answer: httpx2.Response) -> bool:
    return bool(answer.json()["checks"]["worker"] == "ok")


def wait_for(
    url: str,
    is_right: Callable[[httpx2.Response], bool] = lambda _: True,
    seconds: float = START_SECONDS,
    process: "subprocess.Popen[bytes] | None" = None,
) -> None:
    """Waits until the address answers 200, rightly. Ends the benchmark if it never does, at once if
    the process that should serve it has ended.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            answer = httpx2.get(url, timeout=2)
            if answer.status_code == 200 and is_right(answer):
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{url} did not become ready")


def photo(side: int, moved: int = 0) -> bytes:
    """A real photo as JPEG, `side` pixels square; `moved` sideways to get one that no cache
    knows.
    """
    picture = Image.fromarray(np.asarray(data.astronaut())).resize((side, side))
    return to_jpeg(np.roll(np.asarray(picture), moved, axis=1), quality=92)


def to_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
