"""Finished jobs in the format that AUTOMATIC1111's clients expect: `images`, `parameters`, `info`.

Owns the format of the answers and of `progress`. Call it from threads: it reads pictures.
"""

import json
from dataclasses import dataclass
from typing import Any

from api.faces.fitting import Size, Wanted, as_format, fitted, size_of
from api.faces.sdapi.current import Current
from api.faces.sdapi.form import Img2Img
from api.faces.sdapi.infotext import infotext, with_text
from api.faces.sdapi.lists import SAMPLERS
from api.faces.sdapi.pictures import encoded
from api.services import Services
from shared.errors import ImageNotFound
from shared.jobs import Job, JobState
from shared.params import DEFAULT_SAMPLER, ImageFormat

IDLE_STATE = {
    "skipped": False,
    "interrupted": False,
    "stopping_generation": False,
    "job": "",
    "job_count": 0,
    "job_timestamp": "0",
    "job_no": 0,
    "sampling_step": 0,
    "sampling_steps": 0,
}


@dataclass(frozen=True)
class Made:
    """A job and the picture that is returned for it."""

    job: Job
    data: bytes
    size: Size


def made(services: Services, jobs: list[Job], wanted: list[Wanted | None]) -> list[Made]:
    """The pictures of these jobs, in order; for an interrupted job its preview, if it had one."""
    found = []
    for job, want in zip(jobs, wanted, strict=True):
        data = _picture(services, job, want)
        if data is not None:
            found.append(Made(job, data, size_of(data)))
    return found


def img2img_answer(asked: Img2Img, pictures: list[Made], ignored: list[str]) -> dict[str, Any]:
    """The complete answer of img2img."""
    texts = [infotext(one.job, one.size) for one in pictures]
    images = [encoded(with_text(one.data, text)) for one, text in zip(pictures, texts, strict=True)]
    return {
        "images": [] if asked.send_images is False else images,
        "parameters": asked.echoed(),
        "info": json.dumps(
            _info(asked, pictures, texts) | {"ignored": ignored}, ensure_ascii=False
        ),
    }


def progress_answer(
    services: Services, current: Current | None, with_image: bool
) -> dict[str, Any]:
    """The progress of the caller's request; all values are zero if there is none."""
    if current is None:
        return {
            "progress": 0.0,
            "eta_relative": 0.0,
            "state": IDLE_STATE,
            "current_image": None,
            "textinfo": None,
        }
    job, place = current.unfinished[0], len(current.jobs) - len(current.unfinished)
    return {
        "progress": round(share(current), 4),
        "eta_relative": job.progress.eta_seconds or 0.0,
        "state": IDLE_STATE
        | {
            "job": job.id,
            "job_count": len(current.jobs),
            "job_timestamp": f"{current.jobs[0].created_at:%Y%m%d%H%M%S}",
            "job_no": place,
            "sampling_step": job.progress.step,
            "sampling_steps": job.progress.total_steps or job.params.executed_steps,
        },
        "current_image": live_preview(services, job) if with_image else None,
        "textinfo": None,
    }


def share(current: Current) -> float:
    """Progress between 0 and 1, over all jobs of the request."""
    percents = [100.0 if job.state.is_terminal else job.progress.percent for job in current.jobs]
    return sum(percents) / 100 / max(1, len(percents))


def live_preview(services: Services, job: Job) -> str | None:
    """The latest preview as a PNG in base64."""
    if job.preview is None:
        return None
    try:
        return encoded(as_format(services.blobs.get(job.preview.blob), "png"))
    except ImageNotFound:  # replaced in the meantime
        return None


def _picture(services: Services, job: Job, wanted: Wanted | None) -> bytes | None:
    if job.result is not None:
        data = services.blobs.get(job.result.blob)
        if wanted is None:
            return data
        return fitted(data, wanted, job.result.format, job.params.quality)
    if job.state is not JobState.CANCELED or job.preview is None:
        return None
    source = job.spec.source.width, job.spec.source.height
    kind: ImageFormat = "png" if job.params.format == "auto" else job.params.format
    try:
        small = as_format(services.blobs.get(job.preview.blob), kind)
    except ImageNotFound:
        return None
    whole = wanted or Wanted(source, "stretch")
    return fitted(small, whole, kind, job.params.quality)


def _info(asked: Img2Img, pictures: list[Made], texts: list[str]) -> dict[str, Any]:
    first = pictures[0] if pictures else None
    prompts = [one.job.params.prompt or "" for one in pictures]
    negatives = [one.job.params.negative_prompt or "" for one in pictures]
    seeds = [one.job.params.seed for one in pictures]
    params = first.job.params if first else None
    return {
        "prompt": prompts[0] if prompts else asked.prompt or "",
        "all_prompts": prompts,
        "negative_prompt": negatives[0] if negatives else asked.negative_prompt or "",
        "all_negative_prompts": negatives,
        "seed": seeds[0] if seeds else -1,
        "all_seeds": seeds,
        "subseed": -1,
        "all_subseeds": [-1] * len(seeds),
        "subseed_strength": 0,
        "width": first.size[0] if first else asked.width,
        "height": first.size[1] if first else asked.height,
        "sampler_name": SAMPLERS[(params and params.sampler) or DEFAULT_SAMPLER],
        "cfg_scale": params.guidance_scale if params else asked.cfg_scale,
        "steps": params.steps if params else asked.steps,
        "batch_size": asked.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": first.job.spec.base if first else "",
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": params.strength if params else asked.denoising_strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": f"{first.job.created_at:%Y%m%d%H%M%S}" if first else "0",
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": "retouch",
        "lora_reason": params.lora_reason if params else None,
    }
