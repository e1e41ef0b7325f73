"""Makes `models/tiny` from its recipe alone: photos, decoder, UNet, folder.

Owns the order and the files between stages, so that a killed run continues where it was. The
stages' own files know nothing of each other.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPTokenizer

from worker.training.adapter import save_adapter
from worker.training.base.autoencoder import build_autoencoder
from worker.training.base.carving import collect, download
from worker.training.base.decoding import DecodingLoss
from worker.training.base.network import (
    assemble,
    build_scheduler,
    build_text_encoder,
    build_unet,
    whiten_input,
)
from worker.training.base.neutral import NoisyBatch, neutralise, start_adapter
from worker.training.base.pretraining import PretrainingLoss, fold
from worker.training.base.recipe import BaseRecipe
from worker.training.base.settling import settle_time, settled_scheduler
from worker.training.base.vocabulary import write_tokenizer
from worker.training.damage import KINDS, degrade, draw_level
from worker.training.loop import Group, Loop, Progress, Schedule
from worker.training.photos import Photo, load_photos, random_crop
from worker.training.restoration import to_tensor
from worker.training.staged import run_stage

MAX_SIDE = 1400
MIN_SIDE = 160
WHITENING_CROPS = 300
TYPICAL_CROP = 64
NEUTRAL_CROP = 96
# States in the middle of a run: latents scaled by alpha, with noise of that size.
TYPICAL_ALPHA, TYPICAL_SIGMA = 0.8, 0.5

Tell = Callable[[str, Progress], None]


@dataclass
class Networks:
    """The trained networks and what belongs to them."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: CLIPTokenizer
    scheduler: Any


def make_base(recipe: BaseRecipe, work: Path, output: Path, tell: Tell) -> Path:
    """Writes the checkpoint folder `output` and `work/start.safetensors`; returns the latter's
    path.

    `work` holds packages, photos, checkpoints and curves. Raises TrainingError if packages or
    photos are missing, OutOfSpace if the disk is full.
    """
    photos = gather_photos(recipe, work)
    networks = build(recipe, work, photos)
    train_decoder(recipe, networks, photos, work, tell)
    train_unet(recipe, networks, photos, work, tell)
    change = neutralise(networks.unet, noisy_batches(recipe, networks, photos))
    write_base(networks, work, output)
    start = work / "start.safetensors"
    state = start_adapter(networks.unet, change, recipe.unet.start_rank)
    save_adapter(start, state, {"modelspec.title": "start"})
    return start


def gather_photos(recipe: BaseRecipe, work: Path) -> list[Photo]:
    """Downloads and extracts what is missing."""
    folder = work / "photos"
    if len(list(folder.glob("*.png"))) < len(recipe.photos.keep):
        download(list(recipe.photos.packages), work / "packages")
        collect(work / "packages", set(recipe.photos.keep), folder)
    return load_photos(folder, MIN_SIDE, 0, MAX_SIDE).training


def build(recipe: BaseRecipe, work: Path, photos: list[Photo]) -> Networks:
    """Networks with initial weights from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    settings = recipe.unet
    tokenizer = write_tokenizer(list(recipe.words), work / "tokenizer")
    networks = Networks(
        build_autoencoder(recipe.decoder.width, recipe.decoder.blocks, settings.latent_scale),
        build_unet(settings.widths, settings.norm_epsilon),
        build_text_encoder(tokenizer),
        tokenizer,
        settled_scheduler(build_scheduler(), settings.served_timestep, settings.most_noise),
    )
    networks.vae.encoder.requires_grad_(False)
    settle_time(networks.unet, settings.served_timestep)
    whiten_input(networks.unet, _typical_latents(recipe, photos), torch.Generator().manual_seed(2))
    for network in (networks.vae, networks.unet):
        network.to(memory_format=torch.channels_last)
    return networks


def _typical_latents(recipe: BaseRecipe, photos: list[Photo]) -> torch.Tensor:
    random = np.random.default_rng(recipe.seed + 1)
    crops = []
    for number in range(WHITENING_CROPS):
        pixels = random_crop(photos, TYPICAL_CROP, random).pixels
        kind = KINDS[number % len(KINDS)]
        crops.append(degrade(pixels, kind, draw_level(kind, random), random))
    latents = fold(to_tensor(crops), recipe.unet.latent_scale)
    return TYPICAL_ALPHA * latents + TYPICAL_SIGMA * torch.randn(latents.shape)


def train_decoder(
    recipe: BaseRecipe, networks: Networks, photos: list[Photo], work: Path, tell: Tell
) -> None:
    settings = recipe.decoder
    schedule = Schedule(settings.steps, settings.learning_rate, 100, 0.3, recipe.seed)
    groups = [Group(list(networks.vae.decoder.parameters()))]
    loss = DecodingLoss(networks.vae, photos, settings)
    run_stage("decoder", Loop(groups, loss, schedule), work, tell)


def train_unet(
    recipe: BaseRecipe, networks: Networks, photos: list[Photo], work: Path, tell: Tell
) -> None:
    settings = recipe.unet
    schedule = Schedule(
        settings.steps,
        settings.learning_rate,
        100,
        settings.constant_share,
        recipe.seed,
        settings.weight_decay,
    )
    loss = PretrainingLoss(
        networks.unet, networks.text_encoder, networks.tokenizer, networks.scheduler, photos, recipe
    )
    groups = parameter_groups(networks, settings.latent_scale)
    run_stage("unet", Loop(groups, loss, schedule), work, tell)


def parameter_groups(networks: Networks, latent_scale: float) -> list[Group]:
    """Learning rates by scale: latents are large, so layers next to them do not have scale 1."""
    unet = networks.unet
    first, last = [unet.conv_in.weight], list(unet.conv_out.parameters())
    apart = {id(parameter) for parameter in first + last}
    learning = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    others = [parameter for parameter in learning if id(parameter) not in apart]
    return [
        Group(others),
        Group(first, 2 / latent_scale),
        Group(last, 20.0),
        Group(list(networks.text_encoder.parameters()), 0.3),
    ]


@torch.no_grad()
def noisy_batches(
    recipe: BaseRecipe, networks: Networks, photos: list[Photo]
) -> Iterator[NoisyBatch]:
    """Photos, every second batch damaged, at the service's own noise levels and others."""
    random = np.random.default_rng(recipe.seed + 2)
    alphas = networks.scheduler.alphas_cumprod
    tokens = networks.tokenizer([""], padding="max_length", return_tensors="pt")
    empty = networks.text_encoder(tokens.input_ids)[0].expand(2, -1, -1)
    for number in range(recipe.unet.neutral_batches):
        pixels = [random_crop(photos, NEUTRAL_CROP, random).pixels for _ in range(2)]
        if number % 2:
            kind = KINDS[int(random.integers(len(KINDS)))]
            pixels = [degrade(p, kind, draw_level(kind, random), random) for p in pixels]
        latents = fold(to_tensor(pixels), recipe.unet.latent_scale)
        timestep = [400, 300, 200, 100, int(random.integers(1, 999))][number % 5]
        alpha, sigma = alphas[timestep].sqrt(), (1 - alphas[timestep]).sqrt()
        noise = torch.randn(latents.shape)
        yield NoisyBatch(alpha * latents + sigma * noise, timestep, empty, noise)


def write_base(networks: Networks, work: Path, output: Path) -> None:
    """Saves the pipeline's folder in half precision, without paths of this machine."""
    pipeline = assemble(
        networks.vae,
        networks.unet,
        networks.text_encoder,
        networks.tokenizer,
        networks.scheduler,
    )
    pipeline.to(torch.float16)
    pipeline.save_pretrained(output, safe_serialization=True)
    for network in (networks.vae, networks.unet, networks.text_encoder):
        network.to(torch.float32)
    for weights in output.rglob("*.safetensors"):
        weights.chmod(0o644)
    for name in ("vocab.json", "merges.txt"):
        (output / "tokenizer" / name).write_bytes((work / "tokenizer" / name).read_bytes())
    for path in output.rglob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
