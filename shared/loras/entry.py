"""The catalogue's record of one LoRA, shared by API, command line and worker.

Owns the fields of an entry and its states. Knows nothing of how files are read or judged.
"""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.loras.few_steps import FewSteps
from shared.params import Fidelity, Prediction, Sampler, WorkAt

Damage = Literal["noise", "blur", "jpeg", "lowres", "phone"]


class LoraState(StrEnum):
    """Whether a LoRA may be used; only an available one ever reaches a worker."""

    AVAILABLE = "available"
    QUARANTINED = "quarantined"
    INCOMPATIBLE = "incompatible"


class LoraKind(StrEnum):
    """How a file stores its change to the weights.

    `full` is a change to the whole UNet: a low-rank one over every kind of layer (as LCM-LoRA),
    or whole differences of weights, biases and norms.
    """

    LORA = "lora"
    LOCON = "locon"
    LOHA = "loha"
    LOKR = "lokr"
    DORA = "dora"
    GLORA = "glora"
    OFT = "oft"
    FULL = "full"
    UNKNOWN = "unknown"


class LoraEntry(BaseModel):
    """One LoRA file as the catalogue found it. A replaced file is a new entry.

    `identity` is (device, inode, size, mtime_ns). `rank` is the largest one in the file. `bases`
    has more than one id if neither shapes, metadata nor name decide; `base` is then `unknown`.
    `work_at` says whether the LoRA is applied before or after the photo is enlarged, if it differs
    from the base's default. `shrink` is the share of the photo's size at which the LoRA works; an
    enlarger brings its picture back to full size. `few_steps` are the needs of a LoRA that was
    distilled for few steps; the toml beside it takes precedence. `complaints` name the fields of
    that file that are ignored. `reason_code` names the message in `reason` and `reason_zh`.
    `scheme` says how the tensors are named (shared/loras/dialects.py). `unplaced` names the tensors
    without a counterpart in the base. `adapter_config` holds the scales from PEFT's file beside the
    weights, as JSON.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    short_name: str
    path: Path
    title: dict[str, str]
    base: str
    bases: list[str]
    kind: LoraKind
    rank: int | None
    scheme: str
    state: LoraState
    reason_code: str | None
    reason: str | None
    reason_zh: str | None
    evidence: list[str]
    default_scale: float
    strength: float | None
    steps: int | None = None
    sampler: Sampler | None = None
    timestep: int | None = None
    prediction: Prediction | None = None
    guidance_scale: float | None = None
    few_steps: FewSteps | None = None
    complaints: tuple[str, ...] = ()
    fidelity: Fidelity | None
    work_at: WorkAt | None = None
    shrink: float = 1.0
    treats: list[Damage]
    trigger_words: list[str]
    prompt: str | None
    negative_prompt: str | None
    licence: str | None
    source: str | None
    sample: str | None
    sample_path: Path | None = None
    size_bytes: int
    sha256: str
    identity: tuple[int, int, int, int]
    unplaced: tuple[str, ...] = ()
    adapter_config: str = ""

    @property
    def predicts_difference(self) -> bool:
        """Whether the UNet with this LoRA predicts the change of the latents, for `once`."""
        said = self.prediction or (self.few_steps.prediction if self.few_steps else None)
        return said == "difference"

    @property
    def weights_id(self) -> str:
        """An id of this LoRA's weights: its bytes, and how they are scaled."""
        if not self.adapter_config:
            return self.sha256
        return hashlib.sha256(f"{self.sha256}{self.adapter_config}".encode()).hexdigest()
