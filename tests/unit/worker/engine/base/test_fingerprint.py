"""The fingerprint of a base's weights: the same for copies, another for other weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from tests.support.checkpoints import make_sd15
from worker.engine.base.fingerprint import fingerprint_of


@pytest.fixture
def pipeline(tmp_path: Path) -> Any:
    return StableDiffusionPipeline.from_pretrained(make_sd15(tmp_path), safety_checker=None)


def test_single_and_half_precision_of_one_checkpoint_are_the_same_weights(pipeline: Any) -> None:
    whole = fingerprint_of(pipeline)
    assert fingerprint_of(pipeline.to(torch.float16)) == whole
    assert fingerprint_of(pipeline.to(torch.float32)) == whole


def test_a_memory_layout_changes_no_weights(pipeline: Any) -> None:
    whole = fingerprint_of(pipeline)
    pipeline.unet.to(memory_format=torch.channels_last)
    assert fingerprint_of(pipeline) == whole


def test_a_finetune_of_the_unet_or_another_autoencoder_has_other_weights(pipeline: Any) -> None:
    found = {fingerprint_of(pipeline)}
    for part in (pipeline.unet, pipeline.vae):
        with torch.no_grad():
            for weight in part.parameters():
                weight.mul_(1.01)
        found.add(fingerprint_of(pipeline))
    assert len(found) == 3


def test_bfloat16_is_told_apart_from_half_precision(pipeline: Any) -> None:
    assert fingerprint_of(pipeline.to(torch.bfloat16)).startswith("bf16-")
