"""Small random checkpoints of the classes of SD 3 and FLUX, in folders that diffusers loads.

For tests of loading and stepping only: their pictures mean nothing.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from peft import LoraConfig, get_peft_model_state_dict
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from shared.loras.check import check_file
from shared.loras.entry import LoraEntry
from tests.support.checkpoints import letters, small_text, small_vae

WORDS = 32
LATENTS = 4


def make_sd3(folder: Path) -> Path:
    """A checkpoint of SD 3's classes, whose own size is 256 px."""
    torch.manual_seed(0)
    StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(),
        text_encoder=CLIPTextModelWithProjection(small_text(WORDS)),
        tokenizer=letters(folder / "words"),
        text_encoder_2=CLIPTextModelWithProjection(small_text(WORDS)),
        tokenizer_2=letters(folder / "words"),
        text_encoder_3=_t5(2 * WORDS),
        tokenizer_3=_pieces(),
        transformer=SD3Transformer2DModel(
            sample_size=32,
            in_channels=LATENTS,
            out_channels=LATENTS,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=2 * WORDS,
            caption_projection_dim=32,
            pooled_projection_dim=2 * WORDS,
            pos_embed_max_size=32,
        ),
    ).save_pretrained(folder)
    return folder


def make_flux(folder: Path) -> Path:
    """A checkpoint of FLUX.1-dev's classes, whose own size is 1024 px."""
    torch.manual_seed(0)
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=CLIPTextModel(small_text(WORDS)),
        tokenizer=letters(folder / "words"),
        text_encoder_2=_t5(WORDS),
        tokenizer_2=_pieces(),
        transformer=FluxTransformer2DModel(
            in_channels=4 * LATENTS,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WORDS,
            pooled_projection_dim=WORDS,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
    ).save_pretrained(folder)
    return folder


def make_transformer_lora(folder: Path, into: Path) -> LoraEntry:
    """Random weights for the transformer's attention, written by diffusers and PEFT themselves."""
    torch.manual_seed(1)
    pipeline: Any = DiffusionPipeline.from_pretrained(folder)
    config = LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    pipeline.transformer.add_adapter(config)
    type(pipeline).save_lora_weights(
        str(into),
        transformer_lora_layers=get_peft_model_state_dict(
            pipeline.transformer, save_embedding_layers=False
        ),
        weight_name="lora.safetensors",
    )
    return check_file(into / "lora.safetensors")


def _vae() -> AutoencoderKL:
    return small_vae(
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.1, scaling_factor=1.5
    )


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=128, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def _pieces() -> T5TokenizerFast:
    """A tokenizer whose pieces are single letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    letters = [(chr(code), -1.0) for code in range(33, 127)]
    tokenizer = Tokenizer(models.Unigram(special + letters, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return T5TokenizerFast(tokenizer_object=tokenizer, model_max_length=77)
