"""What was done to a photo, in a line for people."""

from retouch.records import Job


def told(job: Job) -> str:
    """Sizes, LoRAs and why, what was changed or given up."""
    sizes = [f"{each.width} x {each.height}" for each in (job.source, job.result) if each]
    loras = ", ".join(f"{lora.name}:{lora.scale:g}" for lora in job.params.loras)
    parts = [
        " -> ".join(sizes),
        loras,
        job.params.lora_reason or "",
        job.params.sampler_reason or "",
        job.params.upscale_reason or "",
    ]
    notices = [*(job.source.warnings if job.source else []), *job.degraded]
    notices += job.result.safety.warnings if job.result else []
    parts += [notice.message or notice.code for notice in notices]
    return "; ".join(part for part in parts if part)
