"""Each program of benchmarks/ says what it does when it is asked, and starts nothing then."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
PROGRAMS = [
    path for path in sorted(FOLDER.glob("*.py")) if '__name__ == "__main__"' in path.read_text()
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_arguments_are_read_before_anything_is_measured(program: Path) -> None:
    source = program.read_text()

    assert "ArgumentParser(description=__doc__" in source
    assert "sys.argv" not in source


def test_there_are_programs() -> None:
    assert len(PROGRAMS) > 20
