"""Writes a benchmark's results into a page, between two markers; the text around them is
hand-written.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def put(page: Path, name: str, text: str) -> None:
    """Replaces the text between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises ValueError if a page lacks either.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
