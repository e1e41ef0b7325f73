"""The simplifications that make a preview fast.

Owns how many steps a preview takes. Used both for previews before a picture and for previews alone.
"""

from dataclasses import replace

from worker.engine.interface import EngineJob, Urgency

# With a base as small as the embedded one, a single step is within 40 dB of the finished picture.
STEPS, STEPS_ON_CPU = 2, 1


def as_preview(job: EngineJob, device: str) -> EngineJob:
    """The same job made fast: without guidance, in one or two steps from the same noise
    strength.
    """
    most = STEPS_ON_CPU if device == "cpu" else STEPS
    # If the product is below one, the single step would begin at another noise strength.
    fewer = (n for n in range(1, job.steps) if int(n * job.strength) == most)
    return replace(
        job,
        steps=next(fewer, job.steps),
        guidance_scale=1.0,
        preview=False,
        urgency=Urgency.PREVIEW,
    )
