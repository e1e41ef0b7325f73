"""Ray Serve: one replica with both cores, `@serve.batch`. `PORT LORAS`."""

import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve

from benchmarks.peer_servers.pipeline import BATCH, BATCH_SECONDS, Pipeline, Wish, to_text


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})  # type: ignore[untyped-decorator]
class Enhance:
    def __init__(self, loras: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)  # Ray sets OMP_NUM_THREADS to the actor's CPUs
        self.pipeline = Pipeline(Path(loras))

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_SECONDS)  # type: ignore[untyped-decorator]
    async def make(self, wishes: list[Wish]) -> list[bytes]:
        return self.pipeline.pictures(wishes)

    async def __call__(self, request: Any) -> dict[str, str]:
        return {"image": to_text(await self.make(Wish.from_json(await request.json())))}


if __name__ == "__main__":
    import torch

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    deployment: Any = Enhance
    serve.run(deployment.bind(sys.argv[2], torch.get_num_threads()), route_prefix="/enhance")
    while True:
        time.sleep(3600)
