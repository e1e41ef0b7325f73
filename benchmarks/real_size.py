"""SD 1.5 and SDXL in their real sizes, with random weights, and LoRAs for them: sufficient for
speed and memory, without a download. Their pictures are meaningless.

The UNets have the published configurations (860 M and 2,567 M parameters).
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from shared.bases import BASES, SDXL
from shared.settings import REPOSITORY
from tests.support.checkpoints import letters, small_text, small_vae
from tests.support.published_unets import PUBLISHED
from worker.engine.base.loaded_base import LoadedBase

# The same classes at sizes at which a CPU takes milliseconds per step.
SMALL: dict[str, dict[str, Any]] = {
    "sd15": {"block_out_channels": (16, 32, 32, 32), "norm_num_groups": 8},
    "sdxl": {
        "block_out_channels": (16, 32, 32),
        "norm_num_groups": 8,
        "transformer_layers_per_block": 1,
        "attention_head_dim": (2, 4, 4),
    },
}
SCALING = {"sd15": 0.18215, "sdxl": 0.13025}
CHECKPOINTS = REPOSITORY / "var" / "benchmarks" / "checkpoints"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def base_folder(family: str, small: bool = False, checkpoints: Path = CHECKPOINTS) -> Path:
    """The folder of a base: `tiny` is the embedded one, others are made at the first use."""
    if family == "tiny":
        return REPOSITORY / "models" / "tiny"
    return make_checkpoint(family, checkpoints / (f"{family}-small" if small else family), small)


def make_checkpoint(family: str, folder: Path, small: bool = False) -> Path:
    """A folder with a random `sd15` or `sdxl`, all parts in real size, float16; an existing one is
    kept. `small` keeps the classes and makes all parts small.
    """
    if not (folder / "model_index.json").exists():
        torch.manual_seed(0)
        vae = small_vae() if small else _vae()
        vae.register_to_config(scaling_factor=SCALING[family])
        texts = [small_text(width) if small else _clip(width) for width in (768, 1280)]
        pipeline = _pipeline(family, vae, texts, folder / "words", torch.float16, small)
        pipeline.save_pretrained(folder)
    return folder


def make_base(name: str, dtype: torch.dtype) -> LoadedBase:
    """The base `name` (`sd15` or `sdxl`) in main memory: its UNet in real size, autoencoder and
    text encoders small, for measurements that do not use them.
    """
    torch.manual_seed(0)
    texts = [small_text(width) for width in (768, 1280)]
    with TemporaryDirectory() as words:
        pipeline = _pipeline(name, small_vae(), texts, Path(words), dtype)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    return LoadedBase(pipeline, BASES[name], torch.device("cpu"), dtype)


def _pipeline(
    family: str,
    vae: AutoencoderKL,
    texts: list[CLIPTextConfig],
    words: Path,
    dtype: torch.dtype,
    small: bool = False,
) -> Any:
    tokenizer = letters(words)
    parts: dict[str, Any] = {
        "unet": _unet(PUBLISHED[family] | (SMALL[family] if small else {}), dtype),
        "vae": vae.to(dtype).eval(),
        "text_encoder": CLIPTextModel(texts[0]).to(dtype).eval(),
        "tokenizer": tokenizer,
        "scheduler": DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    }
    if family == SDXL.id:
        second = CLIPTextModelWithProjection(texts[1]).to(dtype).eval()
        return StableDiffusionXLImg2ImgPipeline(
            text_encoder_2=second, tokenizer_2=tokenizer, **parts
        )
    return StableDiffusionImg2ImgPipeline(
        safety_checker=None, feature_extractor=None, requires_safety_checker=False, **parts
    )


def _unet(configuration: dict[str, Any], dtype: torch.dtype) -> UNet2DConditionModel:
    """Created on the meta device and filled: float32 weights of the larger one would not fit a
    laptop.

    The weights are so small that a forward pass stays finite.
    """
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**configuration)
    unet.to(dtype).to_empty(device="cpu")
    for name, weight in unet.named_parameters():
        if weight.dim() > 1:
            reach = (3.0 / weight[0].numel()) ** 0.5 / 2
            weight.data.uniform_(-reach, reach)
        else:
            weight.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    made: UNet2DConditionModel = unet.eval()
    return made


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=2,
    )


def _clip(width: int) -> CLIPTextConfig:
    """CLIP's text encoders as in SD, except for a vocabulary of 300."""
    shape = {"num_hidden_layers": {768: 12, 1280: 32}[width], "intermediate_size": width * 4}
    small = small_text(width).to_dict()
    return CLIPTextConfig(**small | shape | {"num_attention_heads": width // 64})


def attention_layers(unet: torch.nn.Module) -> Iterator[tuple[str, torch.Size]]:
    """Every attention projection's name and weight shape."""
    for name, module in unet.named_modules():
        if name.endswith(ATTENTION) and isinstance(module.weight, torch.Tensor):
            yield name, module.weight.shape


def write_lora(unet: torch.nn.Module, path: Path, seed: int, rank: int, scheme: str) -> Path:
    """A random LoRA on all attention projections, with names as in kohya's scripts or diffusers."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Any] = {}
    for name, (writes, reads) in attention_layers(unet):
        down = torch.randn(rank, reads, generator=generator).mul_(0.02).half()
        up = torch.randn(writes, rank, generator=generator).mul_(0.02).half()
        if scheme == "kohya":
            stem = "lora_unet_" + name.replace(".", "_")
            tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(rank / 2).half()
        else:
            tensors |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    save_file(tensors, path)
    return path
