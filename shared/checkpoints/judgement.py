"""Whether a checkpoint can be served, judged before its weights are read."""

from pathlib import Path

from shared.checkpoints.facts import BadCheckpoint, CheckpointFacts
from shared.checkpoints.folder import folder_facts, read_index
from shared.checkpoints.places import find_checkpoint
from shared.checkpoints.single_file import file_facts

# Input channels of the UNet's first convolution besides the four latent channels.
_EXTRA_CHANNELS = {
    9: "an inpainting checkpoint (9 input channels): it needs a mask for every picture. Use the "
    "checkpoint that it was made from",
    8: "an InstructPix2Pix checkpoint (8 input channels), which is not served. Use a checkpoint "
    "with 4 input channels",
    7: "a checkpoint for enlarging (7 input channels), which is not served. Use a checkpoint with "
    "4 input channels",
}


def read_facts(place: Path) -> CheckpointFacts:
    """The facts of a folder or file. Raises BadCheckpoint if it is not a checkpoint."""
    return folder_facts(place) if place.is_dir() else file_facts(place)


def check_checkpoint(base_model: str) -> CheckpointFacts | None:
    """Judges the checkpoint named by a setting; None for a hub id that has not been downloaded yet.

    Raises BadCheckpoint if it cannot be served.
    """
    place = find_checkpoint(base_model)
    if place is None:
        return None
    if place.is_dir():
        read_index(place)
    facts = read_facts(place)
    complaint = complaint_about(facts)
    if complaint is not None:
        raise BadCheckpoint(f"'{place.name}' is {complaint}")
    return facts


def complaint_about(facts: CheckpointFacts) -> str | None:
    """Why a checkpoint is not served, worded to follow "it is"; None if it is served."""
    if facts.is_lora:
        return "a LoRA and no base. Put it into the LoRA folder and choose a base for it"
    if facts.other:
        return facts.other
    if facts.in_channels in _EXTRA_CHANNELS:
        return _EXTRA_CHANNELS[facts.in_channels]
    if facts.has_guidance_embedding:
        return (
            "a latent consistency base, whose network takes guidance as an input, which is not "
            "served. Use the checkpoint that it was made from, with an LCM LoRA"
        )
    if facts.has_latent_mean and facts.in_channels is not None:
        return (
            "an EDM checkpoint (such as Playground v2.5), whose latents are scaled in another way, "
            "which is not served. Use an SDXL checkpoint"
        )
    if facts.missing:
        return (
            f"incomplete: {' and '.join(facts.missing)} cannot be found in it. Download the whole "
            "checkpoint"
        )
    return None
