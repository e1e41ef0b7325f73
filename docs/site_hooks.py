"""Completes MkDocs for the documentation's site: links that leave docs/ become plain text.

On a code host such a link opens the file; the site has no page for it.
"""

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this for each page."""
    return OUTSIDE.sub(r"\1", markdown)
