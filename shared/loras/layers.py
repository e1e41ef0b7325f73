"""From tensor names to adapted layers: which naming scheme, which parts, which rank and width.

Schemes: diffusers and PEFT (`lora_A`/`lora_B`, older `lora.down`), kohya's sd-scripts
(`lora_down`, `alpha`), ComfyUI (the makers' own names, mostly behind `diffusion_model.`), LyCORIS
(`hada_*`, `lokr_*`, `diff`, `dora_scale`; see https://github.com/KohakuBlueleaf/LyCORIS) and XLabs'
FLUX (`qkv_lora1.down`). Knows nothing of base models and passes no judgement.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.loras.header import Tensor

# Where the older spellings of diffusers and XLabs end the module's name.
_OLD = r"(?:(?<=[._]lora)|(?<=\.lora_linear_layer)|(?<=_lora[12]))"
_PART = re.compile(
    rf"(?P<down>\.lora_A(?:\.\w+)?\.weight|\.lora_down(?:\.\w+)?\.weight|{_OLD}\.down\.weight)"
    rf"|(?P<up>\.lora_B(?:\.\w+)?\.weight|\.lora_up(?:\.\w+)?\.weight|{_OLD}\.up\.weight)"
    r"|(?P<alpha>\.alpha)"
    r"|(?P<mid>\.lora_mid\.weight)"
    r"|(?P<dora>\.dora_scale|\.lora_magnitude_vector(?:\.\w+)*)"
    r"|\.(?P<lycoris>hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?|lokr_t[12]|diff)"
    r"|(?P<bias>\.diff_b|\.[wb]_norm)"
)
_OLD_END = re.compile(r"(?:[._]lora|\.lora_linear_layer)$")
# The longest ending has three dots: `.lora_A.default.weight`.
_MAX_DOTS = 3
_UNET = r"(?:down|up|input|output)_blocks|mid_block|middle_block|time_embed"
_SCHEMES = (
    (re.compile(r"lora_unet_|lora_te|lora_transformer_|lycoris_"), "kohya"),
    (re.compile(r"base_model\.model\."), "peft"),
    (re.compile(r"(?:double|single)_blocks\.\d+\.processor\."), "xlabs"),
    (re.compile(rf"diffusion_model\.(?:{_UNET})"), "comfy"),
    (re.compile(r"(?:diffusion_model\.)?(?:double|single|joint)_blocks\.\d+\."), "comfy"),
    (
        re.compile(r"unet\.|text_encoder|transformer\.|(?:down|up)_blocks\.|mid_block\."),
        "diffusers",
    ),
)


@dataclass
class Layer:
    """The tensors that adapt one module, by part: `down`, `up`, `alpha`, `hada_w1_a`, ...

    `down` is (rank, in-features[, kernel height, width]) and `up` (out-features, rank, ...).
    """

    parts: dict[str, Tensor] = field(default_factory=dict)

    def dimension(self, part: str, index: int) -> int | None:
        """One dimension of one part; None where there is no such part or dimension."""
        tensor = self.parts.get(part)
        return tensor.shape[index] if tensor and len(tensor.shape) > index else None

    @property
    def rank(self) -> int | None:
        """The rank of this layer's change; None where it is stored whole."""
        parts = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
        return next((rank for part in parts if (rank := self.dimension(part, 0))), None)

    @property
    def in_features(self) -> int | None:
        """The width of what the adapted module reads."""
        for part in ("down", "hada_w1_b", "diff"):
            if (width := self.dimension(part, 1)) is not None:
                return width
        # A Kronecker product of matrices m and n wide is m*n wide.
        first = self.dimension("lokr_w1", 1) or self.dimension("lokr_w1_b", 1)
        second = self.dimension("lokr_w2", 1) or self.dimension("lokr_w2_b", 1)
        return first * second if first and second else None

    @property
    def kernel(self) -> int:
        """The adapted convolution's kernel side; 1 for linear layers."""
        down = self.parts.get("down")
        return max(down.shape[2:], default=1) if down else 1


@dataclass
class Layers:
    """Everything in a file: its layers by module name, and the tensors that are none's."""

    by_module: dict[str, Layer]
    foreign: list[str]

    @property
    def parts(self) -> set[str]:
        """Every kind of part that occurs."""
        return {part for layer in self.by_module.values() for part in layer.parts}

    @property
    def rank(self) -> int | None:
        """The largest rank in the file; None for what has none."""
        ranks = (layer.rank for layer in self.by_module.values())
        return max((rank for rank in ranks if rank), default=None)

    @property
    def scheme(self) -> str:
        """How the file names its tensors; `unknown` also where it mixes schemes."""
        schemes = {_scheme_of(module) for module in self.by_module}
        return schemes.pop() if len(schemes) == 1 else "unknown"


def read_layers(tensors: Iterable[Tensor]) -> Layers:
    """Sort tensors into layers by their names."""
    found = Layers({}, [])
    for tensor in tensors:
        match = _ending(tensor.name)
        if match is None:
            found.foreign.append(tensor.name)
        else:
            _add(found, tensor, match)
    return found


def _ending(name: str) -> re.Match[str] | None:
    """The part that a tensor's name ends in, tried from its last dot on."""
    dot = len(name)
    for _ in range(_MAX_DOTS):
        dot = name.rfind(".", 0, dot)
        match = _PART.fullmatch(name, dot) if dot > 0 else None
        if match is not None:
            return match
    return None


def _add(found: Layers, tensor: Tensor, match: re.Match[str]) -> None:
    part = match["lycoris"] or str(match.lastgroup)
    module = tensor.name[: match.start()]
    if module.endswith(("lora", "lora_linear_layer")):
        module = _OLD_END.sub("", module)
    layer = found.by_module.setdefault(module, Layer())
    if part in layer.parts:
        found.foreign.append(tensor.name)
    else:
        layer.parts[part] = tensor


def _scheme_of(module: str) -> str:
    return next((name for starts, name in _SCHEMES if starts.match(module)), "unknown")
