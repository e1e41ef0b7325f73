"""Records for tests: small, complete, and easy to tell apart."""

from uuid import uuid4

from shared.jobs import JobSpec, Result, Source
from shared.params import JobParams


def make_spec(client: str = "anonymous", base: str = "tiny", **params: object) -> JobSpec:
    """A unique job; its result is as large as its source."""
    source = Source(image_id="0" * 64, blob="sources/x", width=8, height=8, size_bytes=1)
    settled: dict[str, object] = {"seed": 7, "strength": 0.4, "upscale": 1} | params
    return JobSpec(
        id=uuid4().hex,
        client=client,
        base=base,
        source=source,
        params=JobParams.model_validate(settled),
    )


def make_result() -> Result:
    return Result(blob="results/x", width=8, height=8, format="png", size_bytes=1, sha256="0" * 64)
