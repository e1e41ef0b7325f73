"""The locks: what an image installs, pinned as in constraints.txt, each with its hashes."""

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = sorted((REPOSITORY / "requirements").glob("*.lock"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "api": ("s3", "otel"),
    "monitor": ("monitor",),
    "worker": ("worker", "gguf", "s3", "otel"),
}
EXTRAS |= {"dev": ("worker", "monitor", "dev")}
ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; .*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", re.M
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(path: Path) -> dict[str, str]:
    """Each package's version; only of those that have a hash."""
    return {normal(name): version for name, version, _ in ENTRY.findall(path.read_text())}


def pinned() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {normal(name): version for name, _, version in pairs}


def test_every_image_has_a_lock() -> None:
    assert {path.stem for path in LOCKS} == set(EXTRAS)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_what_the_project_asks_for_as_it_is_pinned(path: Path) -> None:
    found = locked(path)
    # Nothing without a hash, and no address of a registry
    entries = [line for line in path.read_text().splitlines() if line[:1] not in (" ", "#")]
    assert len(entries) == len(found) > 0
    assert "://" not in path.read_text()
    # All that is asked for, but torch
    extras = (PROJECT["optional-dependencies"][extra] for extra in EXTRAS[path.stem])
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]
    names = {normal(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in asked}
    assert names - set(found) == {"torch"} & names
    # As in constraints.txt
    pins = pinned()
    assert {n: v for n, v in found.items() if pins.get(n, v) != v} == {}


def test_images_install_nothing_that_the_locks_do_not_name_but_torch() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    installs = re.findall(r"pip install ([^\n\\]*)", text.partition("AS api")[2])
    for install in installs:
        assert "--require-hashes" in install or install.endswith(("torch ", "-e ."))
