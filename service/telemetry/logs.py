"""Structured logs: JSON in production, readable on a terminal."""

import logging
import sys
from io import StringIO
from typing import Any, Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from service.telemetry.scrub import Scrubber
from service.text import escaped


def configure_logs(log_format: Literal["console", "json"], level: str, scrub: Scrubber | None = None) -> None:
    """Send our events, the records of libraries and the warnings of Python through one renderer to stderr, without what
    `scrub` takes out.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor] = (
        [
            # Without locals: they hold keys.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
        if log_format == "json"
        else [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderer,
                _scrubbing(scrub or Scrubber()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)


def _add_trace(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Which trace, and which step of it, a line belongs to."""
    current = trace.get_current_span().get_span_context()
    if current.is_valid:
        event["trace_id"] = trace.format_trace_id(current.trace_id)
        event["span_id"] = trace.format_span_id(current.span_id)
    return event


def _escape(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """What others send, a path for example, may hold characters that a terminal obeys."""
    return {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def _write_traceback(out: TextIO, error: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, error)
    out.write(escaped(text.getvalue()))


def _scrubbing(scrub: Scrubber) -> Processor:
    """The last step, on the line itself: whatever it was made of."""

    def process(logger: WrappedLogger, name: str, line: Any) -> Any:
        return scrub(line)

    return process


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
