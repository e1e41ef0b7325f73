"""Logging: one format for every process, chosen by the settings.

Our own lines do not pass through the standard library's records, which takes as long as everything
else about a line; those of libraries do.
"""

import logging
import sys
from contextlib import suppress

import structlog

from shared.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Sends structlog's and the standard library's records to stderr in one format."""
    as_json = settings.log_format == "json"
    renderer = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            # The default formatter prints local variables, which may contain keys and addresses.
            exception_formatter=structlog.dev.plain_traceback,
            colors=sys.stderr.isatty(),
        )
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        shared.append(structlog.processors.format_exc_info)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # At debug level these loggers write headers, which contain keys; the root's level does not
    # limit them.
    for open_hearted in ("uvicorn", "websockets", "httpcore2", "httpx2"):
        logging.getLogger(open_hearted).setLevel(max(logging.INFO, root.level))
    for noisy in ("celery.app.trace", "celery.worker.strategy", "httpx2", "diffusers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Lines:
    """A logger for finished lines."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """Writes to stderr. A stderr that is gone must not end a job."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = exception = critical = log = msg
