"""Published LoRAs for one-step restoration: recognises their files and knows their settings.

OSEDiff (arXiv:2406.08177) and PiSA-SR (arXiv:2412.03017) are recognised by the names of their PEFT
adapters, HYPIR (arXiv:2507.20590) by the file's name. Owns the settings with which they were
published; the toml beside a file takes precedence. TSD-SR is recognised to be refused.
"""

import re
from collections.abc import Collection, Iterable
from typing import Literal

from shared.loras.few_steps import FewSteps

Layout = Literal["osediff", "pisa_sr"]

# PEFT's default, which both published files leave unsaid. The scale is this divided by the rank.
PUBLISHED_ALPHA = 8.0
_ADAPTER = re.compile(
    r"\.lora_[AB]\.default_(?:encoder|decoder|others)(?P<part>_pix|_sem)?\.weight$"
)
_HYPIR = re.compile(r"(?<![a-z])hypir(?![a-z])")

# TSD-SR (arXiv:2411.18263) saves two LoRAs by diffusers' writer for SD 3, which puts `transformer.`
# before the names of both networks. No usual LoRA of SD 3 changes its embedding of patches.
_TSD_SR_ENCODER = re.compile(r"transformer\.(?:encoder\.(?:conv_|down_|mid_)|quant_conv\.)")
_TSD_SR_ENDS = re.compile(r"transformer\.pos_embed\.proj\.lora_[AB]\.")
_TSD_SR = re.compile(r"(?<![a-z])tsd[-_ ]?sr(?![a-z])")
_SD3_BLOCK = re.compile(r"transformer\.transformer_blocks\.")

_COMMON = FewSteps(
    label="", sampler="once", guidance_scale=1.0, steps=1, prompt="", fidelity="adain"
)
_BY_LAYOUT: dict[Layout, FewSteps] = {
    "osediff": _COMMON.model_copy(update={"label": "OSEDiff", "timestep": 999}),
    "pisa_sr": _COMMON.model_copy(
        update={
            "label": "PiSA-SR",
            "timestep": 1,
            "prediction": "difference",
            "has_parts": True,
        }
    ),
}
_BY_NAME = _COMMON.model_copy(update={"label": "HYPIR", "timestep": 200, "fidelity": "wavelet"})


def layout_of(names: Iterable[str]) -> Layout | None:
    """The publication whose adapters have the names in these tensors' names."""
    parts = {match["part"] for match in map(_ADAPTER.search, names) if match}
    if not parts:
        return None
    return "osediff" if parts == {None} else "pisa_sr"


def unserved_restorer(names: Collection[str], stem: str) -> str | None:
    """The publication on SD 3, for which there is no one-step restoration here, that a file with
    these tensors and this name belongs to.
    """
    has_encoder = any(map(_TSD_SR_ENCODER.match, names))
    has_ends = any(map(_TSD_SR_ENDS.match, names)) and not any(".ff.net.2." in n for n in names)
    is_named = _TSD_SR.search(stem.lower()) and any(map(_SD3_BLOCK.match, names))
    return "TSD-SR" if has_encoder or has_ends or is_named else None


def recognise_one_step(layout: Layout | None, names: Iterable[str]) -> FewSteps | None:
    """The settings of a file with this layout, or with one of these names."""
    if layout is not None:
        return _BY_LAYOUT[layout]
    return _BY_NAME if any(_HYPIR.search(name.lower()) for name in names) else None
