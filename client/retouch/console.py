"""The output of the command line: results to stdout, everything else to stderr.

Owns the two consoles and the user's language.
"""

import json
import locale
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console

from retouch.problems import RetouchProblem

Language = Literal["en", "zh"]

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Prints a message that is not a result."""
    err.print(text, markup=False)


def complain(problem: RetouchProblem, about: str | None = None) -> None:
    """Prints what went wrong, and the next step on a separate line."""
    err.print(f"{about}: {problem.detail}" if about else problem.detail, style="red", markup=False)
    if problem.advice:
        err.print(f"  {problem.advice}", markup=False)


@contextmanager
def progress_line() -> Iterator[Callable[[str], None]]:
    """A line that shows what is being waited for; without a terminal, one line for each change."""
    told = ""

    def tell(text: str) -> None:
        nonlocal told
        if text == told:
            return
        told = text
        if err.is_terminal:
            status.update(f"{text} ...")
        else:
            say(f"{text} ...")

    with err.status("starting ...") as status:
        yield tell


def print_json(value: Any) -> None:
    """Prints a result for scripts."""
    out.print(json.dumps(value, ensure_ascii=False, indent=2), markup=False)


def language() -> Language:
    """The user's language, from the terminal's locale."""
    return "zh" if (locale.getlocale()[0] or "").lower().startswith("zh") else "en"
