"""Logging: one format for every process, chosen by the settings."""

import logging
import sys

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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # At debug level these loggers write headers, which contain keys; the root's level does not
    # limit them.
    for open_hearted in ("uvicorn", "websockets", "httpcore2", "httpx2"):
        logging.getLogger(open_hearted).setLevel(max(logging.INFO, root.level))
    for noisy in ("celery.app.trace", "celery.worker.strategy", "httpx2", "diffusers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
