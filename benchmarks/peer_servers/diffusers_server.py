"""diffusers' own recipe for a server: FastAPI, one model, every request in a thread with a pipeline
of its own around it (its pages "Create a server" and `examples/server-async`). `PORT LORAS`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from benchmarks.peer_servers.pipeline import Pipeline, Wish, to_text

pipeline = Pipeline(Path(sys.argv[2]))
app = FastAPI()


class Turns:
    """Requests with one LoRA run at the same time; another LoRA is activated when none runs."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._running = 0
        self._lora = ""

    @contextmanager
    def of(self, lora: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._running or self._lora == lora)
            self._lora, self._running = lora, self._running + 1
            pipeline.activate(lora)
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


turns = Turns()


def make(wish: Wish) -> str:
    with turns.of(wish.lora):
        return to_text(pipeline.with_own_scheduler().pictures([wish])[0])


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/enhance")
async def enhance(body: dict[str, Any]) -> dict[str, str]:
    return {"image": await run_in_threadpool(make, Wish.from_json(body))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
