"""Makes the embedded enlarger from its recipe: photos, other networks' outputs, stages, file.

Owns the order and the files between stages, so that a killed run continues where it was.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from shared.settings import REPOSITORY
from worker.engine.upscale.networks import Enlarger, FoldedNet
from worker.training.base.make import gather_photos
from worker.training.base.recipe import BaseRecipe
from worker.training.errors import TrainingError
from worker.training.loop import Group, Loop, Progress, Schedule
from worker.training.photos import Photo
from worker.training.restorer import Restorer
from worker.training.staged import run_stage
from worker.training.upscaler.loss import Discriminator, Examples, UpscalingLoss
from worker.training.upscaler.recipe import Stage, UpscalerRecipe
from worker.training.upscaler.teacher import Answer, gather_answers
from worker.training.upscaler.treated import gather_treated

FACTORS = (2, 4)
Tell = Callable[[str, Progress], None]
# A stage's name in the file system and on the terminal.
TEACHER, TREATED = "teacher", "treated"
BASE, LORAS = REPOSITORY / "models" / "tiny", REPOSITORY / "loras"


def make_upscaler(
    recipe: UpscalerRecipe,
    base: BaseRecipe,
    teacher: Enlarger | None,
    photo_folder: Path,
    work: Path,
    tell: Tell,
) -> FoldedNet:
    """The trained network. `photo_folder` holds packages and photos, `work` the other networks'
    outputs, checkpoints and curves.

    Raises TrainingError if a stage needs a teacher and there is none.
    """
    photos = gather_photos(base, photo_folder)
    examples = Examples(
        answers_for(recipe, photos, teacher, work / TEACHER, tell),
        treated_for(recipe, photos, work / TREATED, tell),
    )
    torch.manual_seed(recipe.seed)
    network = build(recipe)
    for number, stage in enumerate(recipe.stages):
        train_stage(network, stage, recipe.seed + number, photos, examples, work, tell)
    return network


def build(recipe: UpscalerRecipe) -> FoldedNet:
    """Initial weights; the tails start at zero, so that training starts at nearest-neighbour
    enlargement.
    """
    shape = recipe.shape
    network = FoldedNet(shape.width, shape.blocks, shape.fine, FACTORS)
    for block in network.trunk:
        torch.nn.init.zeros_(block.conv2.weight)  # type: ignore[union-attr,arg-type]
    for tail in network.tails.values():
        torch.nn.init.zeros_(tail.weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(tail.bias)  # type: ignore[arg-type]
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def answers_for(
    recipe: UpscalerRecipe, photos: list[Photo], teacher: Enlarger | None, folder: Path, tell: Tell
) -> list[Answer]:
    """The teacher's outputs, if any stage is trained on them."""
    if not any(stage.teacher_share for stage in recipe.stages):
        return []
    if teacher is None:
        raise TrainingError(
            "The recipe learns from Real-ESRGAN's answers, and it is not there: make extras"
        )
    teaching = recipe.teaching
    return gather_answers(
        photos,
        teacher,
        folder,
        (recipe.seed, teaching.crops, teaching.side),
        lambda done, of: tell(TEACHER, Progress(done, of, 0.0)),
    )


def treated_for(
    recipe: UpscalerRecipe, photos: list[Photo], folder: Path, tell: Tell
) -> list[Answer]:
    """Photos as the shipped LoRAs leave them, if any stage is trained on them."""
    if not any(stage.treated_share for stage in recipe.stages):
        return []
    treated = recipe.treated
    restorer = Restorer(BASE, LORAS, folder / "made")
    try:
        return gather_treated(
            photos,
            lambda pixels: restorer.unenlarged(pixels, "auto"),
            folder,
            (recipe.seed, treated.pictures, treated.side),
            lambda done, of: tell(TREATED, Progress(done, of, 0.0)),
        )
    finally:
        restorer.close()


def train_stage(
    network: FoldedNet,
    stage: Stage,
    seed: int,
    photos: list[Photo],
    examples: Examples,
    work: Path,
    tell: Tell,
) -> None:
    """One run to its end; the averaged weights are left in `network`."""
    judge = Discriminator()
    groups = [Group(list(network.parameters()))]
    if stage.adversarial:
        groups.append(Group(list(judge.parameters()), 0.5))
    loss = UpscalingLoss(network, judge, photos, examples, stage)
    schedule = Schedule(stage.steps, stage.learning_rate, 100, stage.constant_share, seed)
    run_stage(stage.name, Loop(groups, loss, schedule), work, tell)


def write(network: FoldedNet, path: Path, metadata: dict[str, str]) -> None:
    """In half precision, as the service loads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata)
    path.chmod(0o644)
