"""BentoML: a service with adaptive batching. Run by `bentoml serve`; LoRAs from `PEERS_LORAS`."""

import os
from pathlib import Path

import bentoml

from benchmarks.peer_servers.pipeline import BATCH, Pipeline, Wish, to_text

# When a request counts as lost. It does not affect how long a request waits for a batch: BentoML
# derives that from the waits of earlier batches.
PATIENCE_SECONDS = 600


@bentoml.service(workers=1, traffic={"timeout": PATIENCE_SECONDS, "max_concurrency": 256})  # type: ignore[untyped-decorator]
class Enhance:
    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["PEERS_LORAS"]))

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=PATIENCE_SECONDS * 1000)  # type: ignore[untyped-decorator]
    def enhance(self, wishes: list[dict]) -> list[str]:  # type: ignore[type-arg]
        made = self.pipeline.pictures([Wish.from_json(wish) for wish in wishes])
        return [to_text(picture) for picture in made]
