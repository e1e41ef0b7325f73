"""Loads a checkpoint in one file, as model sites distribute them, without contacting a hub.

diffusers' `from_single_file` converts names and weights; the configuration that it would download
is written from worker/engine/base/single_file_layout.py. Supports SD 1.x, SD 2.x and SDXL; other
families are distributed as folders.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from shared.bases import SD21, Base, family_of
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.judgement import complaint_about
from shared.checkpoints.published import Config
from shared.checkpoints.single_file import CKPT, UNET, facts_of, read_shapes
from worker.engine.base.clip_tokenizer import VOCABULARY, write_tokenizer
from worker.engine.base.single_file_layout import Shapes, configurations, text_prefixes

# Empty tensors by which trainers mark the kind of prediction (kohya-ss/sd-scripts, ComfyUI).
V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
_PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon"}


@dataclass(frozen=True)
class FileSummary:
    """Names and shapes of a file's tensors, and its metadata."""

    shapes: Shapes
    metadata: Mapping[str, str]

    @property
    def base(self) -> Base:
        return family_of(facts_of(self.shapes))


def load_single_file(path: Path, pipeline_class: Any, options: dict[str, Any]) -> Any:
    """A pipeline of the class with the file's weights. Raises BadCheckpoint."""
    summary = summarise(path)
    check_file(path, summary)
    with _said_in_words(path), _written(_configured(summary)) as folder:
        pipeline = pipeline_class.from_single_file(
            str(path), config=str(folder), local_files_only=True, **options
        )
    _check_all_loaded(path, pipeline, summary.shapes)
    _settle_prediction(pipeline, summary)
    return pipeline


@contextmanager
def _said_in_words(path: Path) -> Iterator[None]:
    """Turns whatever a file's contents raise into BadCheckpoint."""
    try:
        yield
    except BadCheckpoint:
        raise
    except KeyError as error:
        raise BadCheckpoint(
            f"'{path.name}' is of another build than its family: it has no {error}. Load it as a "
            "folder in diffusers' layout"
        ) from error
    except Exception as error:  # the libraries raise errors of many kinds for unusual contents
        raise BadCheckpoint(f"'{path.name}' cannot be loaded: {error}") from error


def summarise(path: Path) -> FileSummary:
    """Reads shapes and metadata; a `.ckpt` has none of the latter."""
    if path.suffix.lower() == CKPT:
        return FileSummary(read_shapes(path), {})
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return FileSummary(shapes, file.metadata() or {})


def check_file(path: Path, summary: FileSummary) -> None:
    """Raises BadCheckpoint for a file that is not a base, is incomplete, or is of an unsupported
    family.
    """
    complaint = complaint_about(facts_of(summary.shapes))
    if complaint is not None:
        raise BadCheckpoint(f"'{path.name}' is {complaint}")


def _configured(summary: FileSummary) -> dict[str, Config]:
    family = summary.base.id
    configs = configurations(family, summary.shapes)
    for part in text_prefixes(family, summary.shapes):
        if configs[part]["vocab_size"] != VOCABULARY:
            raise BadCheckpoint(
                f"its text encoder knows {configs[part]['vocab_size']} tokens, CLIP's vocabulary "
                f"has {VOCABULARY}; load it as a folder with its tokenizer"
            )
    configs["scheduler"] |= _stated_prediction(summary)
    return configs


def _stated_prediction(summary: FileSummary) -> Config:
    """The kind of prediction stated in the file itself, if any."""
    said = _PREDICTIONS.get(summary.metadata.get("modelspec.prediction_type", ""))
    if V_PREDICTION in summary.shapes:
        said = "v_prediction"
    config: Config = {} if said is None else {"prediction_type": said}
    if ZERO_SNR in summary.shapes:
        config |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return config


def _settle_prediction(pipeline: Any, summary: FileSummary) -> None:
    """Determines the kind of prediction of an SD 2.x file that does not state it.

    At the highest noise level a network that predicts the noise returns approximately its input;
    one that predicts velocity returns approximately the negative of a picture that it cannot see,
    which is unrelated to the input.
    """
    if summary.base is not SD21 or _stated_prediction(summary):
        return
    unet, width = pipeline.unet, summary_width(summary)
    generator = torch.Generator("cpu").manual_seed(0)
    noise = torch.randn(1, unet.config.in_channels, 64, 64, generator=generator).to(unet.dtype)
    with torch.inference_mode():
        words = torch.zeros(1, 77, width, dtype=unet.dtype)
        output = unet(noise, 999, encoder_hidden_states=words).sample
    alike = torch.nn.functional.cosine_similarity(output.flatten(), noise.flatten(), dim=0)
    if alike > 0.5:
        pipeline.scheduler.register_to_config(prediction_type="epsilon")


def summary_width(summary: FileSummary) -> int:
    """The width of the UNet's text embeddings."""
    width = facts_of(summary.shapes).cross_attention_width
    assert width is not None
    return width


def _check_all_loaded(path: Path, pipeline: Any, shapes: Shapes) -> None:
    """Raises BadCheckpoint if diffusers left out weights of the UNet, which it only logs."""
    in_file = sum(prod(shape) for name, shape in shapes.items() if name.startswith(UNET))
    loaded = sum(weight.numel() for weight in pipeline.unet.parameters())
    if in_file != loaded:
        raise BadCheckpoint(
            f"'{path.name}' has a UNet of another build than its family's ({in_file} numbers, "
            f"{loaded} have a place). Load it as a folder in diffusers' layout"
        )


@contextmanager
def _written(configs: dict[str, Config]) -> Iterator[Path]:
    """The configurations as the folder that diffusers expects, inside the block."""
    with tempfile.TemporaryDirectory(prefix="retouch-base-") as name:
        folder = Path(name)
        (folder / "model_index.json").write_text(json.dumps(configs["model_index"]))
        for part, config in configs.items():
            if part.startswith("tokenizer"):
                write_tokenizer(folder / part, config["pad_token"])
            elif part != "model_index":
                _write_config(folder / part, part, config)
        yield folder


def _write_config(folder: Path, part: str, config: Config) -> None:
    folder.mkdir()
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    (folder / name).write_text(json.dumps(config))
