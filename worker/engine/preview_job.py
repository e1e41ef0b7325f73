"""What a preview leaves out, so that it is there at once.

Owns how many steps a preview takes. Whoever shows one before the picture, or alone, asks here.
"""

from dataclasses import replace

from worker.engine.interface import EngineJob, Urgency

# A base as small as the embedded one is within 40 dB of its finished picture after a single step.
STEPS, STEPS_ON_CPU = 2, 1


def as_preview(job: EngineJob, device: str) -> EngineJob:
    """The same at once: without guidance, in a step or two from the same strength of noise."""
    most = STEPS_ON_CPU if device == "cpu" else STEPS
    # Where the product is below one the one step would begin at another strength of noise.
    fewer = (n for n in range(1, job.steps) if int(n * job.strength) == most)
    return replace(
        job,
        steps=next(fewer, job.steps),
        guidance_scale=1.0,
        preview=False,
        urgency=Urgency.PREVIEW,
    )
