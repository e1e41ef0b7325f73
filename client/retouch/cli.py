"""The `retouch` command: `up`, `enhance`, `loras`, `upscalers`, `models`, `train` and the others.

Owns the names of the subcommands and the exit codes: 0 everything succeeded, 1 something failed, 2
wrong usage, 130 interrupted.
"""

import gc
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from retouch.commands import doctor, enhance, folder, loras, mcp, models, processes, up, upscalers
from retouch.console import complain, out, say
from retouch.files import BadOutput
from retouch.problems import RetouchProblem
from retouch.server_packages import ServerPackagesMissing
from retouch.stack.refusal import Interrupted, StackRefused
from retouch.version import __version__

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make photos better with Stable Diffusion and LoRAs, on your own machine.",
)
app.command("up")(up.up)
app.command("enhance")(enhance.enhance)
app.add_typer(loras.app, name="loras")
app.add_typer(upscalers.app, name="upscalers")
app.add_typer(models.app, name="models")
app.command("watch")(folder.watch)
app.command("mcp")(mcp.mcp)
app.command("doctor")(doctor.doctor)
for name, command in processes.COMMANDS.items():
    app.command(name, context_settings=processes.PASS_THROUGH)(command)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(f"retouch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Make photos better with Stable Diffusion and LoRAs, on your own machine."""


def main() -> None:
    """Runs the command line; an expected failure ends with a message, not with a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names may not be UTF-8
    try:
        app()
    except RetouchProblem as problem:
        complain(problem)
        raise SystemExit(FAILED) from problem
    except BadOutput as error:
        say(str(error))
        raise SystemExit(WRONG_USAGE) from error
    except (StackRefused, ServerPackagesMissing) as error:
        say(str(error))
        raise SystemExit(FAILED) from error
    except Interrupted as error:
        raise SystemExit(INTERRUPTED) from error
    finally:
        gc.freeze()  # spares the interpreter its last look for garbage, a tenth of a second
