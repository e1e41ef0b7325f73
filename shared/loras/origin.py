"""Claims about a LoRA's base in its metadata and its file name.

Metadata keys: `modelspec.architecture` (https://github.com/Stability-AI/ModelSpec), and
`ss_base_model_version` and `ss_v2` as kohya's sd-scripts write them. Knows nothing of shapes.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from shared.bases import FLUX, SD3, SD15, SD21, SDXL, TINY, UNKNOWN, Base
from shared.loras.reasons import clean

# Families that have the same widths as a supported one.
_OTHER_FAMILIES = (
    "flux-2", "flux.2", "flux2", "chroma", "qwen", "z-image", "lumina", "hidream", "hunyuan", "wan",
    "sana", "pixart", "auraflow", "kolors", "stable-cascade", "ltx", "cosmos",
)  # fmt: skip
# Prefixes of the two keys' values, most specific first.
_ARCHITECTURES = (
    *((start, UNKNOWN) for start in _OTHER_FAMILIES),
    ("stable-diffusion-xl", SDXL),
    ("stable-diffusion-v1", SD15),
    ("stable-diffusion-v2", SD21),
    ("stable-diffusion-v3", SD3),
    ("stable-diffusion-3", SD3),
    ("flux-1", FLUX),
    ("flux.1", FLUX),
    ("flux1", FLUX),
    ("retouch-tiny", TINY),
    ("tiny", TINY),
)
_VERSIONS = (
    *((start, UNKNOWN) for start in _OTHER_FAMILIES),
    ("sdxl", SDXL),
    ("pony", SDXL),
    ("illustrious", SDXL),
    ("noobai", SDXL),
    ("sd 1", SD15),
    ("sd 2", SD21),
    ("sd 3", SD3),
    ("sd_v1", SD15),
    ("sd_1", SD15),
    ("sd1", SD15),
    ("sd_v2", SD21),
    ("sd_2", SD21),
    ("sd2", SD21),
    ("sd3", SD3),
    ("flux1", FLUX),
    ("flux.1", FLUX),
    ("tiny", TINY),
)
# Tags that name a family anywhere in a name; the last one counts.
_FAMILY_TAG = re.compile(
    r"(?:^|[-_.])(?P<tag>sd[-_.]?1[-_.]?[45]|sd[-_.]?2[-_.]?[01]|sd[-_.]?xl|sd[-_.]?3(?:[-_.]?5)?"
    r"|flux(?:[-_.]?1|(?=[-_.]?(?:dev|schnell))))(?:(?<=xl)[-_.]?1[-_.]0)?(?=[-_.]|$|dev|schnell)",
    re.IGNORECASE,
)
# Tags that count only at the end, and without a clearer tag: `v2.1` may be the LoRA's own version.
_END_TAG = re.compile(r"(?:^|[-_.])(?P<tag>v1[-_.]5|v2[-_.]1|flux|sd[12]|xl|tiny)$", re.IGNORECASE)
_BY_TAG = {
    "tiny": TINY, "v15": SD15, "sd14": SD15, "sd15": SD15, "sd1": SD15,
    "v21": SD21, "sd20": SD21, "sd21": SD21, "sd2": SD21, "xl": SDXL, "sdxl": SDXL,
    "sd3": SD3, "sd35": SD3, "flux": FLUX, "flux1": FLUX,
}  # fmt: skip


class Claim(NamedTuple):
    """The source of a claim, in words, and the base that it names."""

    text: str
    base: Base


def claim_of_metadata(metadata: dict[str, str]) -> Claim | None:
    """The base named by the metadata, from its most trustworthy key."""
    sources = (("modelspec.architecture", _ARCHITECTURES), ("ss_base_model_version", _VERSIONS))
    for key, table in sources:
        claim = _claim(key, metadata.get(key, ""), table)
        if claim:
            return claim
    if metadata.get("ss_v2", "").lower() == "true":
        return Claim(f"ss_v2 says {SD21.label}", SD21)
    return None


def _claim(key: str, value: str, table: Iterable[tuple[str, Base]]) -> Claim | None:
    lowered = value.lower()
    base = next((base for start, base in table if lowered.startswith(start)), None)
    if base is None:
        return None
    return Claim(f"{key} says {clean(value, 40) if base is UNKNOWN else base.label}", base)


def claim_of_sidecar(value: str) -> Claim | None:
    """The base named by another program's file beside the LoRA, such as `SD 1.5`."""
    return _claim("the file beside it", value, _VERSIONS)


def claim_of_name(stem: str) -> Claim | None:
    """The base for a version tag in the file name."""
    match = _find_tag(stem)
    if match is None:
        return None
    tag = match["tag"]
    return Claim(f"the name's tag {tag}", _BY_TAG[re.sub(r"[-_.]", "", tag.lower())])


def shorten(stem: str) -> str:
    """The stem without the base tag at its end, which is what people call the LoRA."""
    match = _find_tag(stem)
    short = stem[: match.start()] if match and match.end() == len(stem) else stem
    return short if short.strip(" -_.") else stem


def _find_tag(stem: str) -> re.Match[str] | None:
    tags = list(_FAMILY_TAG.finditer(stem))
    return tags[-1] if tags else _END_TAG.search(stem)
