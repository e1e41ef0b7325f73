"""`python -m shared.monitor`: runs Flower, read-only and never without a password."""

import os
import sys

from shared.process_help import take_no_arguments
from shared.settings import BadSettings, Settings, load_settings


def flower_command(settings: Settings) -> list[str]:
    """The command that starts Flower on the fleet's broker. Raises BadSettings without a password.

    The password is passed in the environment (see `flower_environment`), where other users of the
    machine cannot see it; so is the broker's address, in our own settings.
    """
    if ":" not in settings.flower_auth:
        raise BadSettings("RETOUCH_FLOWER_AUTH: set it to NAME:PASSWORD; Flower needs a password")
    return [
        *(sys.executable, "-m", "celery", "-A", "shared.flower_app", "flower", "--read_only"),
        *(f"--address={settings.flower_host}", f"--port={settings.flower_port}"),
    ]


def flower_environment(settings: Settings) -> dict[str, str]:
    """The environment variables for the command."""
    return {"FLOWER_BASIC_AUTH": settings.flower_auth}


def main() -> None:
    take_no_arguments("shared.monitor", "Run Flower, read-only, with a password.")
    settings = load_settings()
    command = flower_command(settings)
    os.execve(command[0], command, os.environ | flower_environment(settings))


if __name__ == "__main__":
    main()
