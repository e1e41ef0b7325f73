"""Decoder processes that the gateways of one test run share: to start one takes long."""

import threading
from typing import ClassVar

from api.intake.decoder import Decoder, Decoders
from shared.kept import KeptAs


class SharedDecoders(Decoders):
    """Leaves its idle processes to the next gateway with the same limits; they end with the run,
    when their pipes close.
    """

    _all: ClassVar[dict[int, list[Decoder]]] = {}
    _one: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, max_pixels: int, kept_as: KeptAs = "ppm") -> None:
        super().__init__(max_pixels, kept_as=kept_as)
        self._idle = self._all.setdefault(max_pixels, [])
        self._lock = self._one

    def close(self) -> None:
        """Ends nothing."""
