"""A job's picture with a LoRA file is that of a pipeline whose weights were changed by hand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shared.loras.check import check_file
from tests.support.checkpoints import make_sd15, make_sd21, make_sdxl
from tests.support.engine_jobs import CPU, by_pipeline, make_job, psnr, run_all, start_engine
from worker.engine.base.base_loading import load_base
from worker.engine.step.step_engine import StepEngine

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "sd15": make_sd15,
    "sd21": make_sd21,
    "sdxl": make_sdxl,
}
CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
FLAT = f"lora_unet_{CROSS.replace('.', '_')}"
ORIGINAL = "diffusion_model.input_blocks.1.1.transformer_blocks.0.ff.net.2"
OWN = CROSS.replace("attn2", "attn1")
FLAT_OWN = FLAT.replace("attn2", "attn1")
PROJECTION = "down_blocks.0.attentions.0.proj_in"
RESNET = "down_blocks.0.resnets.0.conv1"
TEXT = "text_model_encoder_layers_1_self_attn_v_proj"


@dataclass(frozen=True)
class Bench:
    """One checkpoint twice: in the engine, and in diffusers' pipeline."""

    engine: StepEngine
    pipeline: Any


@pytest.fixture(scope="module", params=FAMILIES)
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = FAMILIES[request.param](tmp_path_factory.mktemp(request.param))
    engine = start_engine(folder)
    yield Bench(engine, load_base(str(folder), CPU).pipeline)
    engine.close()


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape) * 0.4


def weight(network: torch.nn.Module, name: str) -> torch.Tensor:
    return network.get_parameter(name)


def written_and_added(pipeline: Any) -> tuple[dict[str, torch.Tensor], dict[Any, torch.Tensor]]:
    """Seven kinds in three dialects, and the difference of each weight by hand."""
    torch.manual_seed(7)
    unet, text = pipeline.unet, pipeline.text_encoder
    width, context = weight(unet, f"{CROSS}.to_k.weight").shape
    inner = weight(unet, f"{CROSS.removesuffix('attn2')}ff.net.2.weight").shape
    hidden = text.config.hidden_size
    down, up = random(2, context), random(width, 2)
    first, second = random(4, 4), random(width // 4, width // 4)
    ff_down, ff_up = random(3, inner[1]), random(inner[0], 3)
    low, high, length = random(2, width), random(width, 2), torch.rand(width, 1) + 0.5
    words = random(2, hidden), random(hidden, 2)
    norm, bias = random(width), random(width)
    tensors = {
        f"{FLAT}_to_k.lora_down.weight": down,
        f"{FLAT}_to_k.lora_up.weight": up,
        f"{FLAT}_to_k.alpha": torch.tensor(1),
        f"{FLAT}_to_v.diff": random(width, context),
        f"{FLAT}_to_q.lokr_w1": first,
        f"{FLAT}_to_q.lokr_w2": second,
        f"unet.{CROSS}.to_out.0.lora_A.weight": low,
        f"unet.{CROSS}.to_out.0.lora_B.weight": high,
        f"unet.{CROSS}.to_out.0.lora_magnitude_vector": length,
        f"{FLAT}_to_out_0.diff_b": bias,
        f"{ORIGINAL}.lora_A.weight": ff_down,
        f"{ORIGINAL}.lora_B.weight": ff_up,
        f"lora_te_{TEXT}.lora_down.weight": words[0],
        f"lora_te_{TEXT}.lora_up.weight": words[1],
        f"{FLAT.removesuffix('_attn2')}_norm2.w_norm": norm,
    }
    base = weight(unet, f"{CROSS}.to_out.0.weight")
    changed = base + high @ low
    decomposed = changed * (length / changed.norm(dim=1, keepdim=True)) - base
    prefix = "text_model." if hasattr(text, "text_model") else ""
    added = {
        (unet, f"{CROSS}.to_k.weight"): up @ down * 0.5,
        (unet, f"{CROSS}.to_v.weight"): tensors[f"{FLAT}_to_v.diff"],
        (unet, f"{CROSS}.to_q.weight"): torch.kron(first, second),
        (unet, f"{CROSS}.to_out.0.weight"): decomposed,
        (unet, f"{CROSS}.to_out.0.bias"): bias,
        (unet, f"{CROSS.removesuffix('attn2')}ff.net.2.weight"): ff_up @ ff_down,
        (unet, f"{CROSS.removesuffix('attn2')}norm2.weight"): norm,
        (text, f"{prefix}encoder.layers.1.self_attn.v_proj.weight"): words[1] @ words[0],
    }
    return tensors, added


def other_kinds(pipeline: Any) -> tuple[dict[str, torch.Tensor], dict[Any, torch.Tensor]]:
    """The remaining kinds, and unusual forms of plain pairs, on other layers of the UNet."""
    unet = pipeline.unet
    query, key, value, out = (
        weight(unet, f"{OWN}.{name}.weight") for name in ("to_q", "to_k", "to_v", "to_out.0")
    )
    kernel, projection = weight(unet, f"{RESNET}.weight"), weight(unet, f"{PROJECTION}.weight")
    width = query.shape[0]
    hadamard = [random(width, 2), random(2, width), random(width, 2), random(2, width)]
    a1, a2, b1, b2 = random(width, 2), random(2, width), random(width, 2), random(2, width)
    blocks = random(width // 4, 4, 4) * 0.5
    core = random(2, kernel.shape[1], 1, 1), random(2, 2, 3, 3), random(kernel.shape[0], 2, 1, 1)
    low, high = (x.to(torch.float8_e4m3fn) for x in (random(4, width), random(width, 4)))
    square = projection.dim() == 2  # a linear layer's factors as a convolution's, or the reverse
    ends = (1, 1) if square else ()
    down, up = random(2, width, *ends), random(projection.shape[0], 2, *ends)
    resnet, proj_in = (f"lora_unet_{name.replace('.', '_')}" for name in (RESNET, PROJECTION))
    halves = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    tensors = {
        **{f"{FLAT_OWN}_to_q.{half}": part for half, part in zip(halves, hadamard, strict=True)},
        f"{FLAT_OWN}_to_q.alpha": torch.tensor(1.0, dtype=torch.float64),
        **{f"{FLAT_OWN}_to_k.{n}.weight": x for n, x in zip(("a1", "a2", "b1", "b2"),
           (a1, a2, b1, b2), strict=True)},
        f"{FLAT_OWN}_to_v.oft_blocks": blocks,
        f"{FLAT_OWN}_to_out_0.lora_down.weight": low,
        f"{FLAT_OWN}_to_out_0.lora_up.weight": high,
        f"{FLAT_OWN}_to_out_0.alpha": torch.tensor(2, dtype=torch.int64),
        f"{resnet}.lora_down.weight": core[0],
        f"{resnet}.lora_mid.weight": core[1],
        f"{resnet}.lora_up.weight": core[2],
        f"{proj_in}.lora_down.weight": down,
        f"{proj_in}.lora_up.weight": up,
    }  # fmt: skip
    skew = blocks - blocks.transpose(1, 2)
    one = torch.eye(4)
    turn = torch.block_diag(*((one + block) @ torch.linalg.inv(one - block) for block in skew))
    added = {
        (unet, f"{OWN}.to_q.weight"):
            (hadamard[0] @ hadamard[1]) * (hadamard[2] @ hadamard[3]) * 0.5,
        (unet, f"{OWN}.to_k.weight"): key @ a1 @ a2 + b1 @ b2,
        (unet, f"{OWN}.to_v.weight"): turn.T @ value - value,
        (unet, f"{OWN}.to_out.0.weight"): (high.float() @ low.float() * 0.5).reshape(out.shape),
        (unet, f"{RESNET}.weight"): torch.einsum(
            "or,rskl,si->oikl", core[2].flatten(1), core[1], core[0].flatten(1)),
        (unet, f"{PROJECTION}.weight"):
            (up.flatten(1) @ down.flatten(1)).reshape(projection.shape),
    }  # fmt: skip
    return tensors, added


@torch.no_grad()
def test_a_file_of_many_kinds_and_dialects_makes_the_picture_of_weights_added_by_hand(
    bench: Bench, tmp_path: Path
) -> None:
    tensors, added = written_and_added(bench.pipeline)
    more, further = other_kinds(bench.pipeline)
    tensors, added = tensors | more, added | further
    save_file(tensors, tmp_path / "mixed.safetensors")
    entry = check_file(tmp_path / "mixed.safetensors")
    job = make_job(5, loras=((entry, 0.6),), strength=0.9, steps=4, guidance_scale=3.0)
    plain = make_job(5, strength=0.9, steps=4, guidance_scale=3.0)
    before = run_all(bench.engine, [plain])[0].pixels
    ours = run_all(bench.engine, [job])[0].pixels
    after = run_all(bench.engine, [plain])[0].pixels

    kept = {key: weight(*key).clone() for key in added}
    for key, difference in added.items():
        weight(*key).add_(difference * 0.6)
    images = by_pipeline(bench.pipeline, job, output_type="np")
    for key, original in kept.items():
        weight(*key).copy_(original)

    by_hand = (images[0] * 255).round().astype(np.uint8)
    assert psnr(ours, by_hand) >= 45
    assert psnr(before, by_hand) < 40
    np.testing.assert_array_equal(before, after)
