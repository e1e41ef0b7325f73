"""`python -m worker.training.shipped`: writes the list of LoRAs that ship, after new weights.

Owns how the list is made from the repository's folder. Shipped are the files for the embedded base
that name the recipe of their training as their source.
"""

import hashlib
import json
import tomllib
from pathlib import Path

from shared.loras.shipped import SHIPPED
from shared.settings import REPOSITORY

RECIPE = "models/tiny/recipe.toml"


def main() -> None:
    SHIPPED.write_text(json.dumps(digests(REPOSITORY / "loras"), indent=1) + "\n", "utf-8")
    print(SHIPPED)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every shipped file in the folder, by its name."""
    files = sorted(folder.glob("*_tiny.safetensors"))
    return {
        file.stem: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if is_ours(file.with_suffix(".toml"))
    }


def is_ours(sidecar: Path) -> bool:
    """Whether it says that the file beside it was trained by the project's recipe."""
    if not sidecar.exists():
        return False
    return RECIPE in str(tomllib.loads(sidecar.read_text("utf-8")).get("source", ""))


if __name__ == "__main__":
    main()
