"""SD 1.5 and SDXL at their real size with random weights, and LoRAs for them. For benchmarks only:
their pictures mean nothing, their arithmetic and their memory do.

The UNets have the published configurations (860 M and 2,567 M parameters). Autoencoder and text
encoders are small, since no LoRA is switched there.
"""

from collections.abc import Iterator
from pathlib import Path
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
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from shared.bases import BASES, SDXL
from worker.engine.loading import LoadedBase

TOKENIZER = Path(__file__).resolve().parent.parent / "models" / "tiny" / "tokenizer"
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def make_base(name: str, dtype: torch.dtype) -> LoadedBase:
    """The base `name` (`sd15` or `sdxl`) in main memory, its UNet in `dtype`."""
    torch.manual_seed(0)
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**UNETS[name])
    unet = _filled(unet.to(dtype)).eval().to(memory_format=torch.channels_last)
    parts = {"unet": unet, "vae": _vae().to(dtype), "scheduler": DPMSolverMultistepScheduler()}
    parts |= {"text_encoder": CLIPTextModel(_text(768)).to(dtype), "tokenizer": _tokenizer()}
    if name == SDXL.id:
        parts |= {"text_encoder_2": CLIPTextModelWithProjection(_text(1280)).to(dtype)}
        pipeline: Any = StableDiffusionXLImg2ImgPipeline(tokenizer_2=_tokenizer(), **parts)
    else:
        parts |= {"safety_checker": None, "feature_extractor": None}
        pipeline = StableDiffusionImg2ImgPipeline(requires_safety_checker=False, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return LoadedBase(pipeline, BASES[name], torch.device("cpu"), dtype)


def _filled(module: torch.nn.Module) -> torch.nn.Module:
    """A module made on the meta device, with small random weights: a forward stays finite."""
    module.to_empty(device="cpu")
    for name, weight in module.named_parameters():
        if weight.dim() > 1:
            reach = (3.0 / weight[0].numel()) ** 0.5 / 2
            weight.data.uniform_(-reach, reach)
        else:
            weight.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return module


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    ).eval()


def _text(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=864,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=width,
        bos_token_id=862,
        eos_token_id=863,
        pad_token_id=863,
    )


def _tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(TOKENIZER)


def attention_layers(unet: torch.nn.Module) -> Iterator[tuple[str, torch.Size]]:
    """Every attention projection's name and weight shape."""
    for name, module in unet.named_modules():
        if name.endswith(ATTENTION) and isinstance(module.weight, torch.Tensor):
            yield name, module.weight.shape


def write_lora(unet: torch.nn.Module, path: Path, seed: int, rank: int, scheme: str) -> Path:
    """A random LoRA on all attention projections, named as kohya's scripts or as diffusers does."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
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
