"""Clean enhanced pictures from the engine itself, so that its own changes are not taken for marks.

Owns the engine's settings and the files of the pairs: PHOTO-NUMBER.input.png and
PHOTO-NUMBER.output.png.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from shared.loras.catalog import Catalog
from shared.loras.entry import LoraEntry, LoraState
from shared.settings import REPOSITORY, Settings
from worker.engine.interface import Engine, EngineJob
from worker.engine.make_engine import make_engine
from worker.training.damage import KINDS, RANGES, Pixels, degrade
from worker.training.marks.laying import KINDS as MARKS
from worker.training.marks.laying import OPACITY, draw_layer
from worker.training.marks.stencils import Palette
from worker.training.photos import Photo

Pair = tuple[Pixels, Pixels]
STEPS = 10


def enhance_all(
    photos: list[Photo], side: int, variants: int, folder: Path, marks: Palette | None = None
) -> list[Pair]:
    """The centre of every photo, damaged and enhanced in `variants` ways; existing files are not
    made again.

    With `marks`, every photo gets one before it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(photo, number) for photo in photos for number in range(variants)]
    missing = [job for job in wanted if not _after(folder, *job).exists()]
    if missing:
        _make(missing, side, folder, marks)
    return list(_kept(wanted, folder))


def _make(jobs: list[tuple[Photo, int]], side: int, folder: Path, marks: Palette | None) -> None:
    settings = Settings(engine="auto", device="cpu", threads=1)
    engine = make_engine(settings)
    catalog = Catalog(REPOSITORY / "loras", engine.base)
    catalog.scan()
    loras = [entry for entry in catalog.entries() if entry.state is LoraState.AVAILABLE]
    try:
        for photo, number in jobs:
            clean = middle(photo.pixels, side)
            if marks is not None:
                clean = _marked(clean, marks, random.Random(f"{photo.name}-{number}"))
            given, output = _enhanced(engine, loras, Photo(photo.name, clean), number)
            Image.fromarray(given).save(_before(folder, photo, number), compress_level=1)
            Image.fromarray(output).save(_after(folder, photo, number), compress_level=1)
    finally:
        engine.close()


def _marked(clean: Pixels, marks: Palette, dice: random.Random) -> Pixels:
    height, width = clean.shape[:2]
    kind, opacity = dice.choice(MARKS), dice.uniform(*OPACITY)
    return draw_layer((height, width), kind, opacity, marks, dice).over(clean)


def _enhanced(engine: Engine, loras: list[LoraEntry], photo: Photo, number: int) -> Pair:
    draw = np.random.default_rng([number, *photo.name.encode()])
    kind = KINDS[draw.integers(len(KINDS))]
    harmed = draw.random() < 0.75
    level = float(draw.uniform(*RANGES[kind].measured))
    given = degrade(photo.pixels, kind, level, draw) if harmed else photo.pixels
    treating = [entry for entry in loras if kind in entry.treats]
    lora = (treating or loras)[draw.integers(len(treating or loras))]
    job = EngineJob(
        pixels=given,
        prompt=lora.prompt or "",
        negative_prompt=lora.negative_prompt or "",
        strength=float(draw.choice([0.1, 0.2, 0.4])),
        steps=STEPS,
        guidance_scale=1.0,
        seed=int(draw.integers(2**31)),
        loras=((lora, lora.default_scale),) if draw.random() < 0.85 else (),
        fidelity=lora.fidelity or "none",
        preview=False,
    )
    return given, engine.submit(job, lambda _event: None).result().pixels


def middle(pixels: Pixels, side: int) -> Pixels:
    """The centre of a picture, at most `side` pixels each way, in multiples of 16."""
    height, width = (min(side, length) // 16 * 16 for length in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _kept(jobs: list[tuple[Photo, int]], folder: Path) -> Iterator[Pair]:
    for photo, number in jobs:
        before, after = _before(folder, photo, number), _after(folder, photo, number)
        yield np.asarray(Image.open(before)), np.asarray(Image.open(after))


def _before(folder: Path, photo: Photo, number: int) -> Path:
    return folder / f"{photo.name}-{number}.input.png"


def _after(folder: Path, photo: Photo, number: int) -> Path:
    return folder / f"{photo.name}-{number}.output.png"
