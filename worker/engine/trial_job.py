"""One small test job before the engine accepts jobs of others.

A checkpoint can load and still not work: weights that are not numbers, a precision that overflows,
parts that do not belong together. This is detected before the worker is ready.
"""

import numpy as np

from shared.bases import BASES
from shared.checkpoints.facts import BadCheckpoint
from shared.errors import RetouchError
from worker.engine.interface import Engine, EngineJob, Pixels, StopFlag

SIDE = 128
STEPS, STRENGTH = 2, 0.5


def try_engine(engine: Engine) -> None:
    """Makes one picture of 128 px. Raises BadCheckpoint if that fails or gives no proper
    picture.
    """
    pixels = trial_picture()
    try:
        made = engine.submit(_job(engine.base, pixels), lambda _event: None).result().pixels
    except RetouchError as error:
        raise BadCheckpoint(f"its first picture failed: {error}") from error
    except Exception as error:  # anything that an unknown checkpoint's network raises
        raise BadCheckpoint(
            f"its first picture failed ({type(error).__name__}: {error}). Its parts do "
            "not belong together, or its kind is not supported"
        ) from error
    complaint = complaint_about(pixels, made)
    if complaint is not None:
        raise BadCheckpoint(f"its first picture {complaint}")


def complaint_about(given: Pixels, made: Pixels) -> str | None:
    """The problem of the test picture, uint8 [H, W, 3]; None if there is none."""
    if made.shape != given.shape:
        return (
            f"has the size {made.shape[1]}x{made.shape[0]}, not {given.shape[1]}x{given.shape[0]}"
        )
    if int(made.max()) - int(made.min()) == 0:
        return (
            "is one flat colour: the weights hold numbers that are not finite, or this precision "
            "overflows. Try RETOUCH_PRECISION=float32, or another copy of the checkpoint"
        )
    return None


def trial_picture() -> Pixels:
    """A smooth colour gradient, uint8 [128, 128, 3]."""
    ramp = np.linspace(40, 215, SIDE)
    rows, columns = np.meshgrid(ramp, ramp, indexing="ij")
    return np.stack((rows, columns, (rows + columns) / 2), axis=-1).astype(np.uint8)


def _job(base: str, pixels: Pixels) -> EngineJob:
    return EngineJob(
        pixels=pixels,
        prompt="a photo",
        negative_prompt="",
        strength=STRENGTH,
        steps=STEPS,
        guidance_scale=BASES[base].guidance_scale if base in BASES else 1.0,
        seed=0,
        loras=(),
        fidelity="none",
        preview=False,
        stop=StopFlag(),
    )
