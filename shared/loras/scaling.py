"""The scale of a layer by PEFT's configuration: ranks, alphas, their patterns, rank stabilisation.

A file may have the configuration in its metadata (diffusers under `lora_adapter_metadata`, with the
part's name before each key; others in other forms) or beside it, in PEFT's own
`adapter_config.json`. Knows nothing of tensors.
"""

import json
import re
from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any, NamedTuple

from shared.loras.dialects import PARTS, VAE

Config = Mapping[str, Any]

# Keys under which libraries store a configuration in a file's metadata, as JSON.
_KEYS = ("lora_adapter_metadata", "adapter_config", "peft_config", "lora_config", "config")
# Keys that are also written individually.
_FIELDS = ("r", "rank", "lora_alpha", "alpha", "use_rslora", "rank_pattern", "alpha_pattern")
# The keys kept from a configuration beside a file.
KEPT = frozenset(
    {"peft_type", "r", "lora_alpha", "alpha", "use_rslora", "rank_pattern", "alpha_pattern",
     "use_cayley_neumann", "num_cayley_neumann_terms"}
)  # fmt: skip


class Scaling(NamedTuple):
    """The configuration of one file, by part of the pipeline; `""` means every part."""

    parts: Mapping[str, Config]

    def config(self, part: str) -> Config:
        """The configuration of one part."""
        return self.parts.get(part) or self.parts.get("") or {}

    def scale(self, part: str, module: str, rank: int) -> float:
        """The factor of a layer of this rank without an alpha of its own; 1 without a
        configuration.
        """
        config = self.config(part)
        common = config.get("lora_alpha", config.get("alpha"))
        alpha = _by_pattern(config.get("alpha_pattern"), module, common)
        if alpha is None:
            return 1.0
        return alpha / (sqrt(rank) if _is_true(config.get("use_rslora")) else rank)


def read_scaling(metadata: Mapping[str, str], beside: str = "") -> Scaling:
    """The configuration in a file's metadata, or else the one beside it, as JSON."""
    for key in _KEYS:
        config = _loaded(metadata.get(key, ""))
        if config:
            return Scaling(_by_part(config))
    fields = {key: _loaded_value(metadata[key]) for key in _FIELDS if key in metadata}
    if "lora_alpha" in fields or "alpha_pattern" in fields:
        return Scaling({"": fields})
    return Scaling(_by_part(_loaded(beside)))


def _by_part(config: dict[str, Any]) -> dict[str, Config]:
    parts: dict[str, Config] = {}
    for part in (*PARTS, VAE, "transformer"):
        start = f"{part}."
        inner = {k.removeprefix(start): v for k, v in config.items() if k.startswith(start)}
        if isinstance(config.get(part), dict):
            inner = config[part]
        if inner:
            parts[part] = inner
    return parts or ({"": config} if config else {})


def _loaded(text: str) -> dict[str, Any]:
    found = _loaded_value(text)
    return found if isinstance(found, dict) else {}


def _loaded_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _by_pattern(patterns: object, module: str, common: object) -> float | None:
    """PEFT's rule: the first pattern that matches the end of the module's name, or else the common
    value.
    """
    known = patterns if isinstance(patterns, dict) else {}
    matching = (value for pattern, value in known.items() if _matches(str(pattern), module))
    return next(_numbers(matching), next(_numbers([common]), None))


def _matches(pattern: str, module: str) -> bool:
    if pattern == module or module.endswith(f".{pattern}"):
        return True
    try:
        return re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module) is not None
    except re.error:
        return False


def _numbers(values: Any) -> Iterator[float]:
    for value in values:
        try:
            yield float(value)
        except (TypeError, ValueError):
            continue


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"
