"""Which calls of the UNet make up one step of a row, and with which weights they are added up.

An evaluation has a condition (negative or positive words) and a set of LoRAs. Guidance weighs two
conditions; a LoRA with a part for fidelity and one for detail (PiSA-SR, arXiv:2412.03017) weighs
two sets: `pixel * e(main) + semantic * (e(main and semantic) - e(main))`. Knows no tensors but
outputs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from worker.engine.interface import EngineJob
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import AdapterSet

# Ends the key of the part of a LoRA that is weighed separately.
SEMANTIC_KEY = ":semantic"


@dataclass(frozen=True)
class Evaluation:
    """One call: the index of its condition, its LoRAs, its weight in the sum."""

    condition: int
    adapters: AdapterSet
    weight: float


@dataclass(frozen=True)
class Branch:
    """A set of LoRAs with which the UNet is called, and the weight of the outcome."""

    adapters: AdapterSet
    weight: float


def by_key(adapters: AdapterSet, weights: Sequence[AdapterWeights]) -> dict[str, AdapterWeights]:
    """What acts on prompts and UNet under each key: files, and their semantic parts."""
    found: dict[str, AdapterWeights] = {}
    for (key, _), one in zip(adapters, weights, strict=True):
        found[key] = one.main
        if one.semantic is not None:
            found[key + SEMANTIC_KEY] = one.semantic
    return found


def branches(job: EngineJob, adapters: AdapterSet, keys: Iterable[str]) -> list[Branch]:
    """The sets of a job whose LoRAs have these keys, the one with everything last. Only a
    difference can be weighed: the sum of the weights need not be one.
    """
    known = set(keys)
    second = tuple((key + SEMANTIC_KEY, s) for key, s in adapters if key + SEMANTIC_KEY in known)
    whole = adapters + second
    is_weighed = bool(second) and job.sampler == "once" and job.predicts_difference
    if not is_weighed or job.pixel_scale == job.semantic_scale:
        return [Branch(whole, job.pixel_scale if is_weighed else 1.0)]
    rest = job.pixel_scale - job.semantic_scale
    found = [Branch(adapters, rest), Branch(whole, job.semantic_scale)]
    return [branch for branch in found if branch.weight] or found[-1:]


def evaluations(job: EngineJob, conditions: int, found: Sequence[Branch]) -> list[Evaluation]:
    """The calls of one step; with guidance the negative condition comes first."""
    scale = job.guidance_scale
    weights = [1.0] if conditions == 1 else [1 - scale, scale]
    return [
        Evaluation(index, branch.adapters, weight * branch.weight)
        for branch in found
        for index, weight in enumerate(weights)
    ]


def added_up(calls: Sequence[Evaluation], outputs: torch.Tensor) -> torch.Tensor:
    """The weighted sum [1, C, h, w] of a row's outputs [calls, C, h, w]."""
    weights = torch.tensor([call.weight for call in calls], device=outputs.device)
    summed = (outputs.float() * weights.view(-1, 1, 1, 1)).sum(0, keepdim=True)
    return summed.to(outputs.dtype)


def guided(calls: Sequence[Evaluation], outputs: torch.Tensor) -> torch.Tensor:
    """The same for two calls whose weights are those of guidance, computed as diffusers does."""
    return outputs[:1] + calls[1].weight * (outputs[1:] - outputs[:1])


def combined(calls: Sequence[Evaluation], outputs: torch.Tensor) -> torch.Tensor:
    """A row's output from those of its calls, in their order."""
    if len(calls) == 1 and calls[0].weight == 1.0:
        return outputs
    is_guidance = len(calls) == 2 and calls[0].adapters == calls[1].adapters
    if is_guidance and abs(calls[0].weight + calls[1].weight - 1) < 1e-9:
        return guided(calls, outputs)
    return added_up(calls, outputs)


def pairs_of(
    wanted: AdapterSet, known: Mapping[str, AdapterWeights]
) -> list[tuple[AdapterWeights, float]]:
    """The weights of a set, each with its scale."""
    return [(known[key], scale) for key, scale in wanted]
