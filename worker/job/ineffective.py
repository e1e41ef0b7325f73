"""Settings that a caller gave and that have no effect on the job with its LoRAs and sampler.

Owns the conditions; shared/messages.json says them in words.
"""

from shared.params import JobParams
from worker.job.lora_choice import Chosen


def ineffective(params: JobParams, chosen: Chosen) -> tuple[str, ...]:
    """A code for each such setting of a job whose parameters are settled."""
    takes_one_step = params.sampler == "once"
    has_parts = any(entry.few_steps and entry.few_steps.has_parts for entry, _ in chosen)
    is_weighed = takes_one_step and has_parts and any(e.predicts_difference for e, _ in chosen)
    found = {
        "part_scales_ignored": params.asks_for_parts and not is_weighed,
        "timestep_ignored": params.timestep is not None and not takes_one_step,
    }
    return tuple(code for code, holds in found.items() if holds)
