"""Pages of other origins that the gateway refused, read from its log.

Owns what is shown to the operator. The log line is that of api/access/foreign_pages.py.
"""

import re
from pathlib import Path

_LINE = re.compile(r"page_refused\b.*?\borigin[\"':= ]+([^\s\"',}]{1,200})")
_MOST_BYTES = 2**16


class RefusedPages:
    """Reads what a log gains from now on; each origin is returned once."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = self._size()
        self._told: set[str] = set()

    def fresh(self) -> list[str]:
        """A message for each origin that was refused since the last call."""
        origins = dict.fromkeys(_LINE.findall(self._gained()))
        found = [one for one in origins if one.isprintable() and one not in self._told]
        self._told.update(found)
        way_out = "RETOUCH_CORS_ORIGINS={} lets it use this service."
        return [f"A page of {one} was refused. {way_out.format(one)}" for one in found]

    def _gained(self) -> str:
        size = self._size()
        begin = self._at if self._at <= size else 0  # a new file after a rotation
        if size == begin:
            return ""
        try:
            with self._log.open("rb") as log:
                log.seek(max(begin, size - _MOST_BYTES))
                data = log.read(_MOST_BYTES)
        except OSError:
            return ""
        whole = data.rfind(b"\n") + 1  # the last line may still be written
        self._at = max(begin, size - _MOST_BYTES) + whole
        return data[:whole].decode("utf-8", "replace")

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0
