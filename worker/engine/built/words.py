"""Engines of text encoders inside diffusers' own `encode_prompt`.

The pipeline calls its encoders by itself. Within a block their `forward` therefore tries an engine
first.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from worker.engine.built.parts import TEXTS
from worker.engine.built.use import Parts


class _Words:
    """What `encode_prompt` uses of an encoder's output: see parts.Text."""

    def __init__(self, first: torch.Tensor, before_last: torch.Tensor) -> None:
        self._first = first
        self.hidden_states = (before_last, None)

    def __getitem__(self, index: int) -> torch.Tensor:
        return (self._first,)[index]


@contextmanager
def built_words(pipeline: Any, parts: Parts, allowed: bool) -> Iterator[None]:
    """Inside the block the pipeline's encoders run by engines if there are any. `allowed` is False
    while a LoRA is merged into their weights.
    """
    with ExitStack() as stack:
        for name in TEXTS:
            encoder = getattr(pipeline, name, None)
            if encoder is not None:
                stack.enter_context(_diverted(encoder, _built(encoder, name, parts, allowed)))
        yield


def _built(encoder: Any, name: str, parts: Parts, allowed: bool) -> Callable[..., Any]:
    usual = encoder.forward

    def forward(ids: torch.Tensor, attention_mask: Any = None, **options: Any) -> Any:
        is_plain = allowed and attention_mask is None
        output = parts.built(name, [ids], allowed=is_plain)
        if output:
            return _Words(*output)
        with parts.usual(name):
            return usual(ids, attention_mask=attention_mask, **options)

    return forward


@contextmanager
def _diverted(module: torch.nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # The instance's attribute hides the class's forward, as in worker/engine/lora/slots.py.
    setattr(module, "forward", forward)  # noqa: B010
    try:
        yield
    finally:
        delattr(module, "forward")
