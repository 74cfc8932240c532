"""Logs are events: a stable `action` for machines, fields for what it is about, a line for people.

What libraries log comes out in the same form, without an `action`.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.types import EventDict, Processor, WrappedLogger


def configure_logging(service: str, *, level: str = "info", json: bool | None = None) -> None:
    """Sends logs to standard error: as JSON, or readable where a person is watching (`json=None` decides)."""
    as_json = json if json is not None else not sys.stderr.isatty()

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        # Not a context variable: the threads of libraries do not have ours.
        event["service"] = service
        return event

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*common, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _adopt_libraries(common, render)


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Returns a logger whose entries carry the module they come from."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def _adopt_libraries(common: list[Processor], render: list[Processor]) -> None:
    """Gives what libraries log through `logging`, warnings and worse, the same form."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_add_module, *common],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _add_module(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["module"] = event["_record"].name
    return event
