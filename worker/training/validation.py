"""Evaluates an adapter by the service's own sampler on held-out photos.

Owns the held-out pairs and their scores. Does not know how the adapter is trained.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from worker.engine.colours import with_colours
from worker.training.damage import Kind, Pixels, sorts_of
from worker.training.damage.scaling import Filter, resized
from worker.training.frozen_base import FrozenBase, Words
from worker.training.metrics import gmsd, psnr, ssim
from worker.training.objective import Stretch, detail_loss, rollout_predictions
from worker.training.once import predicted_once
from worker.training.photos import Photo
from worker.training.recipe import LESSON_SHARE, Recipe
from worker.training.restoration import to_tensor
from worker.training.sampler import executed_steps
from worker.training.sidecar import ONCE_FIDELITY

SIDE = 192
LEAST_SAMPLES = 16
MULTIPLE = 16


@dataclass(frozen=True)
class Sample:
    """A held-out part of a photo, and the same part damaged by one sort at its middle level; for a
    style it is undamaged.
    """

    name: str
    kind: Kind | Literal["style"]
    sort: str
    clean: Pixels
    damaged: Pixels


@dataclass(frozen=True)
class Score:
    """PSNR in dB, SSIM, GMSD and missing detail of one picture compared with the clean one."""

    psnr: float
    ssim: float
    gmsd: float
    detail: float


@dataclass(frozen=True)
class Verdict:
    """One sample with its result at one strength."""

    sample: Sample
    strength: float
    result: Pixels
    before: Score
    after: Score


def make_samples(photos: list[Photo], recipe: Recipe) -> list[Sample]:
    """Every held-out photo with every kind of damage that the recipe treats, its sorts in turn;
    with several sorts of a kind if there would be too few samples to tell small gains.
    """
    random = np.random.default_rng(recipe.seed + 1)
    each = -(-LEAST_SAMPLES // max(1, len(photos) * len(recipe.treats)))
    samples = []
    for number, photo in enumerate(photos):
        clean = _middle(photo.pixels)
        if recipe.task == "style":
            samples.append(Sample(photo.name, "style", "style", clean, clean))
            continue
        share = LESSON_SHARE if recipe.lessons else 1.0
        for kind in recipe.treats:
            sorts = sorts_of(kind)
            for turn in range(min(each, len(sorts))):
                sort = sorts[(number + turn) % len(sorts)]
                damaged = sort.make(clean, sort.range.middle, random)
                pair = _fitted(clean, share), _fitted(damaged, share)
                samples.append(Sample(photo.name, kind, sort.name, *pair))
    return samples


def _fitted(pixels: Pixels, share: float) -> Pixels:
    """At this share of its size, sides multiples of MULTIPLE."""
    if share == 1:
        return pixels
    height, width = (round(side * share / MULTIPLE) * MULTIPLE for side in pixels.shape[:2])
    return resized(pixels, width, height, Filter.LANCZOS)


def _middle(pixels: Pixels) -> Pixels:
    height, width = (min(SIDE, side) // MULTIPLE * MULTIPLE for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def judge(base: FrozenBase, samples: list[Sample], recipe: Recipe) -> list[Verdict]:
    """Runs each sample through the sampler, at each evaluated strength, with the current
    adapter.
    """
    embeddings = base.embed([recipe.prompts[0]])
    return [
        _judge_one(base, sample, replace(recipe, strength=strength), embeddings)
        for strength in recipe.judged
        for sample in samples
    ]


def _judge_one(base: FrozenBase, sample: Sample, recipe: Recipe, embeddings: Words) -> Verdict:
    result = restore(base, sample.damaged, recipe, embeddings)
    before, after = score(sample.damaged, sample.clean), score(result, sample.clean)
    return Verdict(sample, recipe.strength, result, before, after)


@torch.no_grad()
def restore(base: FrozenBase, damaged: Pixels, recipe: Recipe, embeddings: Words) -> Pixels:
    """The sampler's picture for `damaged`, sides multiples of 16, seed 0."""
    source = base.encode(to_tensor([damaged]))
    if recipe.once:
        x0 = predicted_once(base, source, recipe.timestep, embeddings)
        made = _pixels(base, source + recipe.strength * (x0 - source))
        return with_colours(ONCE_FIDELITY, damaged, made)
    plan = executed_steps(base.scheduler, recipe.sampler_steps, recipe.strength)
    noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(0))
    last = Stretch(plan, len(plan) - 1, 1)
    x0 = rollout_predictions(
        lambda z, timestep: base.noise(z, timestep, embeddings),
        source,
        noise.to(source.device),
        last,
    )[0]
    return _pixels(base, x0)


def _pixels(base: FrozenBase, latents: torch.Tensor) -> Pixels:
    pixels = (base.decode(latents)[0].clamp(-1, 1) + 1) * 127.5
    return np.asarray(pixels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def score(picture: Pixels, clean: Pixels) -> Score:
    """All four measures of one picture."""
    return Score(
        psnr(picture, clean),
        ssim(picture, clean),
        gmsd(picture, clean),
        detail_missed(picture, clean),
    )


@torch.inference_mode()
def detail_missed(picture: Pixels, clean: Pixels) -> float:
    """How far the amount of fine detail is from the clean picture's, in the natural logarithm."""
    return float(detail_loss(to_tensor([picture]), to_tensor([clean])))


def mean_gain(
    verdicts: list[Verdict], structure: float = 0.0, edges: float = 0.0, detail: float = 0.0
) -> float:
    """Mean PSNR after minus before, dB; 0 without samples.

    The gains in SSIM, GMSD and missing detail have the weights `structure`, `edges` and `detail`,
    as in the loss, which is a natural logarithm.
    """
    decibels = 10 / np.log(10)
    gains = [
        v.after.psnr
        - v.before.psnr
        + decibels * structure * (v.after.ssim - v.before.ssim)
        + decibels * edges * (v.before.gmsd - v.after.gmsd)
        + decibels * detail * (v.before.detail - v.after.detail)
        for v in verdicts
    ]
    return float(np.mean(gains)) if gains else 0.0
