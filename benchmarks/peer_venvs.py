"""Temporary environments of the peers under var/, separate from the project's.

Each peer has its own, so that none depends on another's versions; torch, diffusers and everything
that computes come from the project's environment.
"""

import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "peers-venv"
PACKAGES = {
    "litserve": "litserve",
    "bentoml": "bentoml",
    "ray": "ray[serve]",
    "gradio": "gradio",
    "diffusers": "diffusers",
}


@dataclass(frozen=True)
class Environment:
    """An interpreter with the peer installed, and the peer's version."""

    python: Path
    version: str


def environment(peer: str) -> Environment:
    """The environment, created if necessary. Raises CalledProcessError if the peer cannot be
    installed.
    """
    python = FOLDER / peer / "bin" / "python"
    marker = FOLDER / peer / "installed"
    if not marker.exists():
        _make(peer, python)
        marker.touch()
    asked = f"from importlib.metadata import version; print(version('{peer}'))"
    return Environment(python, _said(python, "-c", asked))


def _make(peer: str, python: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", FOLDER / peer], check=True)
    packages = Path(_said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # After the peer's own packages on its path; torch and the other libraries are found there.
    (packages / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [python, "-m", "pip", "install", "-q", PACKAGES[peer], f"torch=={version('torch')}"]
    subprocess.run(command, check=True)


def _said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
